"""What raters are shown, in which order and on which side: all drawn from one seed.

Protocols: pairs of a real and a generated picture, one after the other, a second each, after practice with feedback, are near
those of pix2pix (Isola et al., CVPR 2017, section 4.1), from which they depart as `UNLIKE` says; one picture at a time, real or
not, is near LAPGAN's (Denton et al., NIPS 2015), whose times of exposure were drawn; a choice among n results is StarGAN's
(Choi et al., CVPR 2018); opinion scores of 1 to 5 for every version of a picture, after the nearest neighbour was shown as 1
and the original as 5, are SRGAN's (Ledig et al., CVPR 2017, section 3.6).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, Literal, TypeAlias

from gantool.errors import UsageError, printable
from gantool.studies.gathering import Item, Labelled, by_name, by_size, is_transparent, size

Mode: TypeAlias = Literal["ab", "real-fake", "best-of-n", "mos"]
Beside: TypeAlias = Literal["partner", "any", "none"]
Kind: TypeAlias = Literal["practice", "trial", "check"]
MOST: Final = 9  # results to choose from: one key each
NEAREST: Final = "nearest"  # labels of the two versions that anchor opinion scores
ORIGINAL: Final = "original"
NOISE: Final = "noise"
REAL, GENERATED = 0, 1  # choices for a single picture
UNLIKE: Final = (
    "unlike pix2pix's study, it asks which picture was real, not which was generated, may have attention checks, which that "
    "had not, and asks every rater about every pair, not about 40 of them: rates of the two are not to be compared as if alike"
)
LONGEST: Final = {"question": 500, "label": 255}  # characters: room for a folder's name, and on the screen
QUESTIONS: Final[dict[Mode, str]] = {
    "ab": "Which picture is better?",
    "real-fake": "Which picture was real?",
    "best-of-n": "Which picture is best?",
    "mos": "How good is this picture?",
}


@dataclass(frozen=True)
class Plan:
    """What the command line says of a study; see its help. None stands for the default, which depends on the mode."""

    mode: Mode
    folders: tuple[Labelled, ...]
    sources: Path | None = None
    originals: Path | None = None
    beside: Beside | None = None
    exposure_ms: int | None = None
    practice: int | None = None
    checks: int | None = None
    pictures: int | None = None
    question: str | None = None


@dataclass(frozen=True)
class Shown:
    """A picture as raters see it.

    Attributes:
        label: whose it is; the page does not have it.
        path: the file that it is made from; noise has only its size from it.
        size: width and height in pixels.
        made: how: the file itself, cropped to the size; the file by nearest neighbour; or noise.
        number: makes noises differ.
    """

    label: str
    path: Path
    size: tuple[int, int]
    made: Literal["file", "nearest", "noise"] = "file"
    number: int = 0


@dataclass(frozen=True)
class Trial:
    """One question.

    Attributes:
        kind: practice is answered with feedback and never scored; a check has an answer that whoever looks gives.
        picture: name of the item.
        shown: what there is to choose from, or the one picture to judge.
        context: pictures that help to judge, with captions.
        good: right answers, of practice and checks: places in `shown`; `REAL` or `GENERATED` for a single picture; scores.
    """

    kind: Kind
    picture: str
    shown: tuple[Shown, ...]
    context: tuple[tuple[str, Shown], ...] = ()
    good: tuple[int, ...] = ()


@dataclass(frozen=True)
class Design:
    """A study: `labels` in the order of the command line, with those of anchors after them; trials in the order asked."""

    mode: Mode
    labels: tuple[str, ...]
    beside: Beside | None
    exposure_ms: int
    question: str
    seed: int
    trials: tuple[Trial, ...]

    def count(self, kind: Kind) -> int:
        """Return how many trials are of a kind."""
        return sum(trial.kind == kind for trial in self.trials)


def design(plan: Plan, seed: int) -> Design:
    """Draw a study.

    Raises:
        UsageError: options or folders do not fit the mode or one another.
        InputError: a picture cannot be read.
    """
    _check(plan)
    rng = Random(seed)
    beside = (plan.beside or "partner") if plan.mode == "real-fake" else None
    practised, scored, left = _divided(_items(plan, beside, rng), plan, beside, rng)
    makers = {"ab": _choices, "best-of-n": _choices, "mos": _opinions, "real-fake": _doubts}
    trials = list(makers[plan.mode](scored, "trial", beside, rng))
    practice = list(makers[plan.mode](practised, "practice", beside, rng))
    rng.shuffle(trials)
    count = max(4, len(trials) // 10) if plan.checks is None else plan.checks
    unscored = practised + left  # a check tells which picture is not noise, and so too much of one that is scored
    for check in _attention(unscored or scored, plan.mode, beside, count, rng):
        trials.insert(rng.randrange(1, len(trials) + 1), check)
    labels = [each.label for each in plan.folders]
    if plan.mode == "mos":
        labels += [NEAREST] * (plan.sources is not None) + [ORIGINAL] * (plan.originals is not None)
    exposure = (1000 if plan.mode == "real-fake" else 0) if plan.exposure_ms is None else plan.exposure_ms
    question = plan.question or _question(plan.mode, beside, exposure)
    return Design(plan.mode, tuple(labels), beside, exposure, question, seed, (*practice, *trials))


def _question(mode: Mode, beside: Beside | None, exposure_ms: int) -> str:
    if beside == "none":
        return "Was this picture real?" if exposure_ms else "Is this picture real?"
    return QUESTIONS[mode] if exposure_ms or mode != "real-fake" else "Which picture is real?"


def _check(plan: Plan) -> None:
    """Refuse options that a mode has no use for, and numbers of folders that make no study.

    Raises:
        UsageError: there is such an option, or too few or many folders.
    """
    least, most = {"ab": (2, 2), "real-fake": (2, 2), "best-of-n": (2, MOST), "mos": (1, 1000)}[plan.mode]
    if not least <= len(plan.folders) <= most:
        words = {"ab": "two folders", "real-fake": "two folders, the real pictures first", "best-of-n": f"2 to {MOST} folders"}
        raise UsageError(f"a study of the mode {plan.mode} takes {words.get(plan.mode, 'folders')}, not {len(plan.folders)}")
    anchored = plan.mode == "mos" and (plan.sources or plan.originals)
    if plan.mode == "real-fake":
        _refuse("--inputs and --references", "real-fake shows neither", plan.sources or plan.originals)
        _refuse("--question", "real-fake has its own question", plan.question)
    else:
        _refuse("--beside", "it is for real-fake", plan.beside)
        unscored = "there is no right answer to practise without --inputs (worst) or --references (best) of the mode mos"
        _refuse("--practice", unscored, plan.practice and not anchored)
        if plan.question and plan.mode != "mos" and plan.checks is None:
            raise UsageError(
                "--question needs --checks beside it, as attention checks expect noise to lose: add --checks 4 if it asks for "
                "the better picture, else --checks 0"
            )
    taken = {NEAREST, ORIGINAL} & {each.label for each in plan.folders} if plan.mode == "mos" else set()
    _refuse(f"the label {', '.join(sorted(taken))}", "for mos it means an anchor; write OTHER=FOLDER", taken)
    _check_length("question", "--question", plan.question or "")
    for each in plan.folders:
        _check_length("label", f"the label {printable(each.label[:20])}...", each.label)


def _check_length(kind: str, what: str, text: str) -> None:
    if len(text) > LONGEST[kind]:
        raise UsageError(f"{what} has {len(text)} characters, more than {LONGEST[kind]}: use a shorter one")


def _refuse(what: str, why: str, given: object) -> None:
    if given:
        raise UsageError(f"{what} cannot be used here: {why}")


def _items(plan: Plan, beside: Beside | None, rng: Random) -> list[Item]:
    if beside in ("any", "none"):
        items = by_size(plan.folders[0], plan.folders[1], rng)
    else:
        items = by_name(plan.folders, plan.sources, plan.originals)
    for item in items:
        _check_sizes(item)
        anchors = [path for path in (item.source, item.original) if path and plan.mode == "mos"]
        _check_transparency([*item.versions.values(), *anchors])
    return items


def _check_sizes(item: Item) -> None:
    """Refuse versions of different sizes.

    Raises:
        UsageError: there are such.
    """
    sizes = {path: size(path) for path in item.versions.values()}
    if len(set(sizes.values())) > 1:
        named = ", ".join(f"{printable(path)} is {width}x{height}" for path, (width, height) in sizes.items())
        raise UsageError(f"versions of one picture have to have one size, which would tell them apart: {named}")


def _check_transparency(paths: Sequence[Path]) -> None:
    """Refuse versions of which some let the page shine through.

    Raises:
        UsageError: there are such.
    """
    clear = [path for path in paths if is_transparent(path)]
    if clear and len(clear) < len(paths):
        opaque = next(path for path in paths if path not in clear)
        raise UsageError(
            f"{printable(clear[0])} has transparency and {printable(opaque)} has none, which would tell them apart: lay all on "
            "one background"
        )


def _divided(items: list[Item], plan: Plan, beside: Beside | None, rng: Random) -> tuple[list[Item], list[Item], list[Item]]:
    """Return the pictures for practice, those that are scored, and those left over.

    Raises:
        UsageError: there are too few.
    """
    default = 10 if plan.mode == "real-fake" else (plan.sources is not None) + (plan.originals is not None)
    usual = default if plan.mode in ("real-fake", "mos") else 0
    practice = usual if plan.practice is None else plan.practice
    if practice >= len(items):
        asked = f"--practice {practice}" if plan.practice is not None else f"practice, by default of {practice},"
        noun = "picture" if len(items) == 1 else "pictures"
        raise UsageError(f"{asked} leaves none of {len(items)} {noun} to score: use a lower --practice, or give more pictures")
    rest = len(items) - practice
    unscored = practice or (plan.pictures or rest) < rest
    if plan.mode == "real-fake" and beside != "none" and not unscored and plan.checks != 0:
        raise UsageError(
            "attention checks of real-fake show real pictures of the practice: use --practice 1 or more, or --checks 0"
        )
    if plan.pictures is not None and plan.pictures > rest:
        raise UsageError(f"--pictures {plan.pictures} are more than the {rest} that there are beside {practice} for practice")
    drawn = rng.sample(items, len(items))
    end = practice + (rest if plan.pictures is None else plan.pictures)
    return drawn[:practice], drawn[practice:end], drawn[end:]


def _orders(count: int, n: int, rng: Random) -> list[list[int]]:
    """Return a permutation of n for each of `count` trials; among any n that begin together, each is in each place once."""
    found: list[list[int]] = []
    while len(found) < count:
        base = rng.sample(range(n), n)
        found += [base[k:] + base[:k] for k in range(n)]
    return found[:count]


def _versions(item: Item) -> list[Shown]:
    return [Shown(label, path, size(path)) for label, path in item.versions.items()]


def _context(item: Item) -> tuple[tuple[str, Shown], ...]:
    given = (("Input", item.source), ("Original", item.original))
    return tuple((caption, Shown("", path, size(path))) for caption, path in given if path)


def _choices(items: Sequence[Item], kind: Kind, _: Beside | None, rng: Random) -> Iterator[Trial]:
    """Yield a trial an item: which of its versions."""
    for item, order in zip(items, _orders(len(items), len(items[0].versions) if items else 1, rng), strict=True):
        shown = _versions(item)
        yield Trial(kind, item.name, tuple(shown[place] for place in order), _context(item))


def _doubts(items: Sequence[Item], kind: Kind, beside: Beside | None, rng: Random) -> Iterator[Trial]:
    """Yield trials of real and generated pictures: side by side, or one by one, of which practice has one an item."""
    for number, (item, order) in enumerate(zip(items, _orders(len(items), 2, rng), strict=True)):
        shown = _versions(item)
        practice = kind == "practice"
        if beside != "none":
            good = (order.index(REAL),) if practice else ()
            yield Trial(kind, item.name, tuple(shown[place] for place in order), good=good)
            continue
        for which in [number % 2] if practice else [REAL, GENERATED]:
            yield Trial(kind, item.name, (shown[which],), good=(which,) if practice else ())


def _opinions(items: Sequence[Item], kind: Kind, _: Beside | None, rng: Random) -> Iterator[Trial]:
    """Yield a trial for each version of each item; of practice one anchor an item, worst and best in turn."""
    for number, item in enumerate(items):
        anchors = _anchors(item)
        if kind == "practice":
            anchor, score = anchors[number % len(anchors)]
            yield Trial(kind, item.name, (anchor,), good=(score,))
        else:
            shown = [*_versions(item), *(anchor for anchor, _ in anchors)]
            yield from (Trial(kind, item.name, (each,)) for each in shown)


def _anchors(item: Item) -> list[tuple[Shown, int]]:
    """Return the anchors of opinion scores and what they are examples of.

    Raises:
        UsageError: their sizes do not fit the versions'.
    """
    width, height = size(next(iter(item.versions.values())))
    scale = 1
    found = []
    if item.source:
        low = size(item.source)
        scale = width // low[0]
        if scale < 1 or (low[0] * scale, low[1] * scale) != (width, height):
            raise UsageError(
                f"{printable(item.source)} is {low[0]}x{low[1]}, of which {width}x{height} is no whole multiple: nearest "
                "neighbour cannot anchor the scores; leave --inputs out"
            )
        found.append((Shown(NEAREST, item.source, (width, height), "nearest"), 1))
    if item.original:
        across, down = size(item.original)
        if not (0 <= across - width < scale and 0 <= down - height < scale):
            raise UsageError(
                f"{printable(item.original)} is {across}x{down}, the results are {width}x{height}: give originals of their size"
            )
        found.append((Shown(ORIGINAL, item.original, (width, height)), 5))
    return found


def _attention(items: Sequence[Item], mode: Mode, beside: Beside | None, count: int, rng: Random) -> list[Trial]:
    """Return questions whose answer is plain to whoever looks: one of the pictures is nothing but noise."""
    return [_attention_check(rng.choice(items), mode, beside, number, rng) for number in range(count)]


def _attention_check(item: Item, mode: Mode, beside: Beside | None, number: int, rng: Random) -> Trial:
    versions = _versions(item)
    picture = versions[REAL] if mode == "real-fake" else rng.choice(versions)
    if mode == "mos" or beside == "none":
        noise = Shown(NOISE, picture.path, picture.size, "noise", number)
        return Trial("check", item.name, (noise,), good=(1, 2) if mode == "mos" else (GENERATED,))
    others = [Shown(NOISE, picture.path, picture.size, "noise", number * MOST + k) for k in range(len(versions) - 1)]
    shown = [picture, *others]
    rng.shuffle(shown)
    return Trial("check", item.name, tuple(shown), _context(item), good=(shown.index(picture),))
