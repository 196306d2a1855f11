"""What votes say: shares and means with intervals, agreement of raters, and whose votes do not count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from gantool.studies import agreement
from gantool.studies.designing import GENERATED, REAL
from gantool.studies.intervals import Interval, binomial_p, student, wilson
from gantool.studies.keys import Asked, Key
from gantool.studies.votes import Session, Vote

ATTENTIVE: Final = 0.9  # share of attention checks that a rater has to answer rightly: all of fewer than ten


@dataclass(frozen=True)
class Number:
    """A share or a mean.

    Attributes:
        name: what it is of: a folder's label, or in words.
        value: a share, 0 to 1, or a mean opinion score, 1 to 5.
        hits: answers that count for a share; None for a mean.
        answers: that it is made of.
        wilson: 95 % interval of a share, all answers taken as independent.
        over_raters: 95 % interval of the mean of raters' own shares or means, if these are two or more and not all equal.
    """

    name: str
    value: float
    hits: int | None
    answers: int
    wilson: Interval | None
    over_raters: Interval | None


@dataclass(frozen=True)
class Seen:
    """What one version of a picture got: the share of answers that chose it or took it for real, or its mean score."""

    picture: str
    label: str
    value: float
    answers: int


@dataclass(frozen=True)
class Inattentive:
    """A rater who is left out, with the attention checks answered rightly."""

    rater: str
    passed: int
    checks: int


@dataclass(frozen=True)
class Score:
    """All that votes say.

    Attributes:
        numbers: in the order of the labels.
        p: of the two-sided binomial test against equal preference, for two methods.
        alpha: Krippendorff's, without anchors; None where it is not defined.
        pictures: in the order asked.
        sessions: of raters who count.
        inattentive: those who do not.
    """

    numbers: tuple[Number, ...]
    p: float | None
    alpha: float | None
    pictures: tuple[Seen, ...]
    sessions: tuple[Session, ...]
    inattentive: tuple[Inattentive, ...]

    def votes(self, key: Key) -> list[Vote]:
        """Return the answers that count."""
        return [session.votes[name] for session in self.sessions for name in key.scored()]


def score(key: Key, sessions: Sequence[Session]) -> Score:
    """Score finished sessions, each of another rater; there may be none that counts, and then there are no numbers."""
    judged = [(session, _attention(key, session)) for session in sessions]
    kept = tuple(session for session, found in judged if found.passed >= ATTENTIVE * found.checks)
    left = tuple(found for _, found in judged if found.passed < ATTENTIVE * found.checks)
    if not kept:
        return Score((), None, None, (), (), left)
    makers = {"mos": _opinions, "real-fake": _doubts, "ab": _preferences, "best-of-n": _preferences}
    numbers = tuple(makers[key.mode](key, kept))
    p = binomial_p(numbers[0].hits or 0, numbers[0].answers) if key.mode == "ab" else None
    return Score(numbers, p, _alpha(key, kept), tuple(_pictures(key, kept)), kept, left)


def _attention(key: Key, session: Session) -> Inattentive:
    checks = {name: trial for name, trial in key.trials.items() if trial.kind == "check"}
    passed = sum(session.votes[name].choice in trial.good for name, trial in checks.items())
    return Inattentive(session.rater, passed, len(checks))


def _preferences(key: Key, sessions: Sequence[Session]) -> Iterable[Number]:
    """Yield how often each folder's picture was chosen."""
    for label in key.labels:
        yield _share(label, key.scored(), sessions, lambda trial, choice, label=label: trial.options[choice] == label)  # type: ignore[misc]


def _doubts(key: Key, sessions: Sequence[Session]) -> Iterable[Number]:
    """Yield how often generated pictures were taken for real, and for single pictures also the other mistake and both."""
    real, generated = key.labels
    if key.beside != "none":
        fooled = "generated taken for real"
        yield _share(fooled, key.scored(), sessions, lambda trial, choice: trial.options[choice] == generated)
        return
    trials = key.scored()
    of = {label: {name: trial for name, trial in trials.items() if trial.options[0] == label} for label in key.labels}
    yield _share("generated taken for real", of[generated], sessions, lambda _, choice: choice == REAL)
    yield _share("real taken for generated", of[real], sessions, lambda _, choice: choice == GENERATED)
    yield _share("wrong of all", trials, sessions, lambda trial, choice: (trial.options[0] == real) != (choice == REAL))


def _share(name: str, trials: Mapping[str, Asked], sessions: Sequence[Session], counts: Callable[[Asked, int], bool]) -> Number:
    """Return the share of answers that count."""
    each = [[counts(trial, session.votes[t].choice) for t, trial in trials.items()] for session in sessions]
    hits, answers = sum(map(sum, each)), len(trials) * len(sessions)
    raters = student([fmean(answered) for answered in each])
    clipped = raters and Interval(max(0.0, raters.low), min(1.0, raters.high))
    return Number(name, hits / answers, hits, answers, wilson(hits, answers), clipped)


def _opinions(key: Key, sessions: Sequence[Session]) -> Iterable[Number]:
    """Yield the mean score of each folder's pictures and of the anchors."""
    for label in key.labels:
        names = [name for name, trial in key.scored().items() if trial.options[0] == label]
        each = [fmean(session.votes[name].choice for name in names) for session in sessions]
        raters = student(each)
        clipped = raters and Interval(max(1.0, raters.low), min(5.0, raters.high))
        yield Number(label, fmean(each), None, len(names) * len(sessions), None, clipped)


def _alpha(key: Key, sessions: Sequence[Session]) -> float | None:
    """Return the agreement of raters: on the order of scores, on whose picture was chosen, or on real or not.

    Scores are steps named in words, whose distances nobody knows, and so ordinal. Anchors are no part: raters were told what
    to give them, and by that alone would agree.
    """
    judged = [name for name, trial in key.scored().items() if trial.options[0] not in key.anchors]
    choices = {name: [session.votes[name].choice for session in sessions] for name in judged}
    if key.mode == "mos":
        return agreement.alpha(list(choices.values()), agreement.ordinal)
    if key.beside == "none":
        return agreement.alpha(list(choices.values()), agreement.nominal)
    return agreement.alpha([[key.trials[t].options[c] for c in chosen] for t, chosen in choices.items()], agreement.nominal)


def _pictures(key: Key, sessions: Sequence[Session]) -> Iterable[Seen]:
    """Yield a line for each trial and version shown in it."""
    for name, trial in key.scored().items():
        choices = [session.votes[name].choice for session in sessions]
        if key.mode == "mos":
            yield Seen(trial.picture, trial.options[0], fmean(choices), len(choices))
        elif key.beside == "none":
            yield Seen(trial.picture, trial.options[0], choices.count(REAL) / len(choices), len(choices))
        else:
            for place, label in enumerate(trial.options):
                yield Seen(trial.picture, label, choices.count(place) / len(choices), len(choices))
