"""`gantool evaluate` with models, several contestants, protocols and other conventions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from gantool.evaluation.degrading import Degradation
from gantool.images import Picture, read, write
from gantool.layers.resampling import imresize
from gantool.metrics import measure
from gantool.metrics.luma import luma
from gantool.metrics.psnr import psnr

if TYPE_CHECKING:
    from conftest import Result

Run = Callable[..., "Result"]
PHOTO = Path(__file__).parent / "data/parrots.png"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three photos: two in colour, of sides that are no multiples of 4, and one gray."""
    folder, photo = tmp_path / "photos", read(PHOTO).color
    folder.mkdir()
    write(folder / "a.png", Picture(photo[:, :62, :79]))
    write(folder / "b.png", Picture(photo[:, 3:58, 10:71]))
    write(folder / "c.png", Picture(photo[1:2, 8:56, 20:68]))
    return folder


def lines(done: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.out.splitlines()]


def bicubic(reference: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """What MATLAB's bicubic makes of a picture, and the cropped picture."""
    kept = reference[:, : reference.shape[1] // scale * scale, : reference.shape[2] // scale * scale]
    high = imresize(imresize(kept[None], 1 / scale).double(), float(scale))[0]
    return (high + 0.5).floor().clamp(0, 255).byte(), kept


def test_a_model_is_measured_on_what_it_makes_of_small_pictures(run_cli: Run, photos: Path) -> None:
    done = run_cli("evaluate", "-m", "bicubic", photos, "--scale", 4, "--json")
    *items, last = lines(done)
    assert done.status == 0
    for item, name in zip(items, "abc", strict=True):
        wanted = measure(*bicubic(read(photos / f"{name}.png").color, 4), ["psnr-y", "ssim-y"], 4)
        assert item["values"] == pytest.approx(wanted, abs=0.02)  # the enlarger rounds otherwise than MATLAB does
        assert item["model_seconds"] > 0
    assert (last["contestant"], last["pictures"], last["protocol"]) == ("bicubic-x4", 3, "sr")
    assert "made small by MATLAB's bicubic by 4" in last["recipe"]
    assert last["interval"]["psnr-y"][0] < last["mean"]["psnr-y"] < last["interval"]["psnr-y"][1]


def test_several_models_stand_in_one_table_with_their_time_and_are_compared_with_the_first(run_cli: Run, photos: Path) -> None:
    done = run_cli("evaluate", "-m", "nearest", "-m", "bicubic", photos, "--scale", 2)
    assert done.status == 0
    table = [line.split() for line in done.out.splitlines()]
    assert table[0] == ["psnr-y", "ssim-y", "s/picture"]
    assert [row[:2] for row in table[1:7]] == [
        [f"{name}.png", model] for name in "abc" for model in ("nearest-x2", "bicubic-x2")
    ]
    means = {row[0]: float(row[1]) for row in table if len(row) == 4 and row[0].endswith("-x2")}
    assert means["bicubic-x2"] > means["nearest-x2"]
    gain = means["bicubic-x2"] - means["nearest-x2"]
    [comparison] = [line for line in done.out.splitlines() if line.startswith("bicubic-x2 against nearest-x2: psnr-y")]
    assert f"psnr-y +{gain:.3f}"[:-1] in comparison
    assert "better in 100% of pictures" in comparison
    assert "p = 0.25 by Wilcoxon" in comparison  # the least that three pictures can give


def test_a_degradation_is_the_same_for_every_model_and_every_run(run_cli: Run, photos: Path) -> None:
    command = ["evaluate", "-m", "bicubic", "-m", "bilinear", photos, "--scale", 2, "--json", "--degradation"]
    first, again, clean = (
        [item["values"] for item in lines(run_cli(*command, what)) if "values" in item]
        for what in ("noise8", "noise8", "bicubic")
    )
    assert first == again
    assert all(noisy["psnr-y"] < other["psnr-y"] for noisy, other in zip(first, clean, strict=True))
    assert [i["values"] for i in lines(run_cli(*command, "noise8", "--seed", 1)) if "values" in i] != first
    shutil.move(photos / "a.png", photos.parent / "a.png")  # what else is evaluated does not matter
    assert [item["values"] for item in lines(run_cli(*command, "noise8")) if "values" in item] == first[2:]


@pytest.mark.parametrize("text", ["noise8", "jpeg30", "blur1+noise2+jpeg85", "unknown", "real-esrgan", "bsrgan"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_degradation_gives_a_small_picture_that_its_seed_decides(text: str, channels: int) -> None:
    reference = read(PHOTO).color[:channels, :64, :80]
    small = Degradation(text, 4).apply(reference, "a.png")
    assert (small.shape, small.dtype) == ((channels, 16, 20), torch.uint8)
    assert small.equal(Degradation(text, 4).apply(reference, "a.png"))
    plain = imresize(reference[None], 0.25)[0]
    assert not small.equal(plain)
    drawn = text != "jpeg30"  # which has nothing random
    assert small.equal(Degradation(text, 4, seed=1).apply(reference, "a.png")) != drawn
    assert small.equal(Degradation(text, 4).apply(reference, "b.png")) != drawn


@pytest.mark.parametrize("channels", [1, 3])
def test_the_strength_of_noise_is_what_its_name_says(channels: int) -> None:
    gray = torch.full((channels, 256, 256), 128, dtype=torch.uint8)
    assert Degradation("noise8", 2).apply(gray, "a").double().std().item() == pytest.approx(8, rel=0.02)


@pytest.mark.parametrize(
    "text", ["noise", "noise0", "noise300", "jpeg0", "jpeg101", "jpeg30.5", "noise8+noise9", "fog", "", "jpeg1e1"]
)
def test_a_degradation_that_is_not_known_is_refused(run_cli: Run, photos: Path, text: str) -> None:
    refused = run_cli("evaluate", "-m", "bicubic", photos, "--scale", 2, "--degradation", text)
    assert (refused.status, refused.out) == (2, "")
    assert "blur1+noise8+jpeg30" in refused.err


def test_two_folders_are_compared_picture_by_picture(run_cli: Run, photos: Path, tmp_path: Path) -> None:
    for folder, scale in (("good", 2), ("bad", 4)):
        (tmp_path / folder).mkdir()
        for path in photos.iterdir():
            high, kept = bicubic(read(path).color, 4)
            better = bicubic(kept, 2)[0]
            write(tmp_path / folder / path.name, Picture(better if scale == 2 else high))
    done = run_cli("evaluate", tmp_path / "bad", photos, "--against", tmp_path / "good", "--scale", 4, "--json")
    found = lines(done)
    assert done.status == 0
    assert [(item["contestant"], Path(item["input"]).parent.name) for item in found[:2]] == [("bad", "bad"), ("good", "good")]
    comparison = next(item for item in found if item.get("comparison") == "psnr-y")
    assert (comparison["first"], comparison["second"], comparison["wins"]) == ("bad", "good", 1)
    summaries = {item["contestant"]: item for item in found if "recipe" in item}
    difference = summaries["good"]["mean"]["psnr-y"] - summaries["bad"]["mean"]["psnr-y"]
    assert comparison["difference"] == pytest.approx(difference, abs=1e-9)


def test_a_folder_with_a_picture_missing_is_refused_among_several(run_cli: Run, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "other")
    (tmp_path / "other/b.png").unlink()
    refused = run_cli("evaluate", photos, photos, "--against", tmp_path / "other")
    assert (refused.status, refused.out) == (2, "")
    assert "without a result: b.png" in refused.err


def test_an_unreadable_result_withholds_only_its_own_folders_mean(run_cli: Run, photos: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(photos, tmp_path / name)
    (tmp_path / "two/b.png").write_bytes(b"no picture")
    done = run_cli("evaluate", tmp_path / "one", photos, "--against", tmp_path / "two", "--json")
    found = lines(done)
    assert done.status == 1
    assert {item["contestant"]: item["mean"] is None for item in found if "recipe" in item} == {"one": False, "two": True}
    assert not any("comparison" in item for item in found)  # of fewer pictures than were asked for


PROTOCOLS = {
    "sr": (["psnr-y", "ssim-y"], 2),
    "rgb": (["psnr", "ssim"], 2),
    "ntire": (["psnr", "ssim"], 8),
}


@pytest.mark.parametrize(("name", "rules"), PROTOCOLS.items())
def test_a_protocol_decides_metrics_and_border(run_cli: Run, photos: Path, tmp_path: Path, name: str, rules: tuple) -> None:
    metrics, border = rules
    (tmp_path / "results").mkdir()
    for path in photos.iterdir():
        write(tmp_path / "results" / path.name, Picture(read(path).color.flip(2)))
    done = run_cli("evaluate", tmp_path / "results", photos, "--protocol", name, "--scale", 2, "--json")
    found = lines(done)[0]["values"]
    reference = read(photos / "a.png").color
    kept = reference if name == "ntire" else reference[:, :, :78]
    result = reference.flip(2)[:, :, : kept.shape[2]]
    assert found == pytest.approx(measure(result, kept, metrics, border), abs=1e-9)
    assert lines(done)[-1]["protocol"] == name


def test_pirm_rounds_the_luma_and_tells_the_root_of_the_mean_error_and_its_region(
    run_cli: Run, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "results").mkdir()
    errors = []
    for path in sorted(photos.iterdir()):
        reference = read(path).color
        result = (reference.int() + 13).clamp(0, 255).byte()
        write(tmp_path / "results" / path.name, Picture(result))
        one, other = ((luma(image[None, :, 4:-4, 4:-4]) + 0.5).floor() for image in (result, reference))
        errors.append((one - other).square().mean().item())
    done = run_cli("evaluate", tmp_path / "results", photos, "--protocol", "pirm", "--metric", "mse-y")
    assert f"rmse: {np.sqrt(np.mean(errors)):.4f} (the root of the mean mse-y: region 2 of PIRM 2018)" in done.out
    assert 11.5 < np.sqrt(np.mean(errors)) <= 12.5
    assert "rounded to whole levels" in done.out


def test_explain_names_the_conventions_between_two_numbers(run_cli: Run, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    pairs = []
    for path in sorted(photos.iterdir()):
        high, kept = bicubic(read(path).color, 2)
        write(tmp_path / "results" / path.name, Picture(high))
        pairs.append((high, kept))
    options = ["--scale", 2, "--metric", "psnr-y,ssim-y", "--explain"]
    last = lines(run_cli("evaluate", tmp_path / "results", photos, *options, "--json"))[-1]
    told = {(each["metric"], each["convention"]): each for each in last["explained"]}

    def average(metric: str, border: int) -> float:
        return float(np.mean([measure(*pair, [metric], border)[metric] for pair in pairs]))

    assert told["psnr-y", "RGB"]["value"] == pytest.approx(average("psnr", 2), abs=1e-9)
    assert told["psnr-y", "no border shaved"]["value"] == pytest.approx(average("psnr-y", 0), abs=1e-9)
    assert told["psnr-y", "8 pixels shaved"]["value"] == pytest.approx(average("psnr-y", 8), abs=1e-9)
    difference = told["psnr-y", "RGB"]["difference"]
    assert difference == pytest.approx(average("psnr", 2) - last["mean"]["psnr-y"], abs=1e-9)
    shaved = [(high[None, :, 2:-2, 2:-2], kept[None, :, 2:-2, 2:-2]) for high, kept in pairs]
    errors = [255**2 / 10 ** (psnr(luma(one), luma(other)) / 10) for one, other in shaved]
    pooled = told["psnr-y", "one PSNR of the error of all pictures"]["value"]
    assert pooled == pytest.approx(10 * log10(255**2 / np.mean(errors)), abs=1e-9)
    defaults = [
        structural_similarity(luma(one)[0, 0].numpy(), luma(other)[0, 0].numpy(), data_range=255) for one, other in shaved
    ]
    uniform = next(each for (metric, words), each in told.items() if metric == "ssim-y" and "scikit-image" in words)
    assert uniform["value"] == pytest.approx(np.mean(defaults), abs=1e-9)
    text = run_cli("evaluate", tmp_path / "results", photos, *options).out
    assert "psnr-y under other conventions:" in text
    assert "gray pictures taken for RGB" in text


def test_full_range_luma_is_lower_by_what_the_ranges_differ(run_cli: Run, tmp_path: Path) -> None:
    for folder, level in (("results", 101), ("references", 100)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "a.png", Picture(torch.full((3, 16, 16), level, dtype=torch.uint8)))
    found = lines(
        run_cli("evaluate", tmp_path / "results", tmp_path / "references", "--metric", "psnr-y", "--explain", "--json")
    )
    full = next(each for each in found[-1]["explained"] if "luma of 0 to 255" in each["convention"])
    assert full["difference"] == pytest.approx(-20 * log10(255 / 219), abs=1e-9)


def test_explaining_identical_pictures_crashes_on_nothing_and_stays_json(run_cli: Run, photos: Path) -> None:
    done = run_cli("evaluate", photos, photos, "--explain", "--json")
    assert done.status == 0
    told = lines(done)[-1]["explained"]
    assert {each["value"] for each in told if each["metric"] == "psnr-y"} == {"inf"}
    assert all(each["difference"] == 0 for each in told if each["metric"] == "psnr-y")
    assert "inf" in run_cli("evaluate", photos, photos, "--explain").out


def test_a_moved_result_and_a_limited_range_are_said_beside_the_numbers(run_cli: Run, tmp_path: Path) -> None:
    photo = imresize(read(PHOTO).color[None], 2.0)[0]
    for folder in ("results", "references"):
        (tmp_path / folder).mkdir()
    for name in "abcd":
        write(tmp_path / "references" / f"{name}.png", Picture(photo))
        write(tmp_path / "results" / f"{name}.png", Picture(photo.roll(1, 2)))
    write(tmp_path / "results/e.png", Picture((photo.double() * 219 / 255 + 16.5).floor().byte()))
    write(tmp_path / "references/e.png", Picture(photo))
    done = run_cli("evaluate", tmp_path / "results", tmp_path / "references")
    assert "a.png, b.png, c.png and 1 more: it is moved 1 px right against the reference" in done.out
    assert "e.png: its levels look as if they span 16 to 235" in done.out
    assert "moved 1 px right" in lines(run_cli("evaluate", tmp_path / "results", tmp_path / "references", "--json"))[0]["note"]


def test_sixteen_bits_are_rounded_and_it_is_said(run_cli: Run, photos: Path, tmp_path: Path) -> None:
    import tifffile

    (tmp_path / "deep").mkdir()
    color = read(photos / "a.png").color.permute(1, 2, 0).numpy()
    tifffile.imwrite(tmp_path / "deep/a.tif", color.astype(np.uint16) * 257, photometric="rgb")
    done = run_cli("evaluate", tmp_path / "deep/a.tif", photos / "a.png", "--json")
    [item, last] = lines(done)
    assert item["values"]["psnr-y"] == "inf"
    assert item["note"] == "the result has 16 bits: it was rounded to 8 before measuring"
    assert last["mean"]["psnr-y"] == "inf"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-m", "bicubic"], "add --scale 4"),
        (["-m", "nothing-such", "--scale", "2"], "nothing-such"),
        (["-m", "bicubic", "-m", "bicubic", "--scale", "2"], "named twice"),
        (["-m", "bicubic", "--scale", "2", "--metric", "accuracy"], "leave out -m"),
        (["--metric", "colorfulness", "--ma", "ma.csv"], "--ma is for pi"),
        (["--metric", "colorfulness", "--segmenter", "net.onnx"], "--segmenter is for seg"),
        (["--metric", "colorfulness", "--palette", "cityscapes"], "--palette is for seg"),
        (["--metric", "colorfulness", "--classifier", "net.onnx"], "--classifier is for accuracy"),
        (["--metric", "colorfulness", "--labels", "labels.csv"], "--labels is for accuracy"),
        (["--metric", "colorfulness", "--fid-variant", "clean"], "--fid-variant is for fid, kid, is"),
        (["--metric", "colorfulness", "--csv", "both.txt", "--html", "./both.txt"], "--csv and --html both name"),
        (["--protocol", "rgb", "--metric", "psnr,psnr-y", "--scale", "2"], "measures RGB, and psnr-y the luma"),
        (["--protocol", "sr", "--metric", "ssim", "--scale", "2"], "measures the luma, and ssim RGB"),
        (["-m", "bicubic", "--protocol", "sr", "--scale", "2", "--degradation", "noise8"], "is of bicubic reductions"),
        (["--metric", "colorfulness", "--csv", "-"], "cannot be written"),
        (["--metric", "colorfulness", "--device", "abacus"], "device 'abacus' is not available here"),
        (["--degradation", "noise8"], "these results have been made already"),
        ([], "compares results with true pictures: name their folder too"),
        (["--explain", "--metric", "colorfulness"], "--explain has other conventions of psnr"),
        (["--metric", "colorfulness", "--weights", "alexnet=x.pth"], "need no weights"),
        (["--metric", "pi"], "--ma"),
        (["--weights", "alexnet"], "write NAME=FILE"),
        (["--metric", "colorfulness", "--html", "nowhere/page.html"], "cannot be written"),
    ],
)
def test_what_does_not_go_together_is_refused_before_any_work(
    run_cli: Run, photos: Path, options: list[str], words: str
) -> None:
    refused = run_cli("evaluate", photos, *options)
    assert (refused.status, refused.out) == (2, "")
    assert words in refused.err
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize("protocol", ["sr", "rgb", "ntire", "ntire20", "pirm"])
def test_models_are_measured_under_every_protocol_whatever_the_sizes(run_cli: Run, photos: Path, protocol: str) -> None:
    """Sides are no multiples of 4: what a model makes has the size of what was made small."""
    metric = "mse-y" if protocol in ("sr", "pirm") else "mse"
    done = run_cli("evaluate", "-m", "bicubic", photos, "--scale", 4, "--protocol", protocol, "--metric", metric, "--json")
    assert done.status == 0
    border = {"sr": 4, "rgb": 4, "ntire": 10, "ntire20": 0, "pirm": 4}[protocol]
    for item, name in zip(lines(done), "abc", strict=False):
        high, kept = bicubic(read(photos / f"{name}.png").color, 4)
        inner = (..., slice(border, kept.shape[1] - border), slice(border, kept.shape[2] - border))
        shaved = [image[None][inner].double() for image in (high, kept)]
        if metric == "mse-y":
            shaved = [luma(image, rounded=protocol == "pirm") for image in shaved]
        assert item["values"][metric] == pytest.approx((shaved[0] - shaved[1]).square().mean().item(), rel=0.02)
    last = lines(done)[-1]
    assert (last["protocol"], last["border"]) == (protocol, border)
    assert "cropped to a multiple of 4" in last["recipe"]


def test_a_page_is_written_with_the_pictures_that_were_measured(run_cli: Run, photos: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run_cli("evaluate", "-m", "bicubic", "-m", "nearest", photos, "--scale", 2, "--html", page)
    assert done.status == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/") >= 9  # three pictures, of two models and true
    assert all(name in text for name in ("a.png", "b.png", "c.png", "bicubic-x2", "nearest-x2"))
    refused = run_cli("evaluate", photos, photos, "--html", page)
    assert refused.status == 2
    assert "--overwrite" in refused.err


def test_the_precision_asked_for_is_that_of_the_model(run_cli: Run, photos: Path) -> None:
    command = ["evaluate", "-m", "span-x2", photos / "a.png", "--scale", 2, "--metric", "psnr", "--json", "--dtype"]
    values = [lines(run_cli(*command, dtype))[0]["values"]["psnr"] for dtype in ("fp32", "bf16")]
    assert values[0] != values[1]
    assert values[0] == pytest.approx(values[1], abs=0.5)


def test_a_fault_of_ours_with_one_picture_does_not_cost_the_others(
    run_cli: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gantool.evaluation import rows

    def fail(result: Tensor, reference: Tensor) -> tuple[str, ...]:
        if len(result) == 1:
            raise RuntimeError("no such luck")
        return ()

    monkeypatch.setattr(rows, "findings", fail)
    done = run_cli("evaluate", photos, photos)
    assert done.status == 1
    assert "c.png failed unexpectedly (RuntimeError: no such luck)" in done.err
    assert [line.split()[0] for line in done.out.splitlines()[1:3]] == ["a.png", "b.png"]


def test_a_metric_of_results_alone_needs_no_references(run_cli: Run, photos: Path) -> None:
    done = run_cli("evaluate", photos, "--metric", "colorfulness", "--json")
    *items, last = lines(done)
    assert done.status == 0
    assert [Path(item["input"]).name for item in items] == ["a.png", "b.png", "c.png"]
    assert items[2]["values"]["colorfulness"] == 0  # gray
    assert (items[0]["reference"], last["measured"]) == (None, 3)
    assert np.isfinite(last["mean"]["colorfulness"])


def test_bicubic_on_set14_has_its_published_rows_in_one_command(run_cli: Run, shared: Path) -> None:
    """Pipeline: 8-bit RGB made small by MATLAB's bicubic, enlarged by bicubic to 8 bits, border and crop by the scale."""
    for scale, published in ((2, 30.24), (3, 27.55), (4, 26.00)):
        done = run_cli("evaluate", "-m", "bicubic", shared / "data/set14/hr", "--scale", scale, "--metric", "psnr-y", "--json")
        assert lines(done)[-1]["mean"]["psnr-y"] == pytest.approx(published, abs=0.02)


@pytest.mark.slow
def test_the_number_told_of_a_checkpoint_is_found_among_the_conventions(run_cli: Run, shared: Path) -> None:
    """The SRGAN port is told to reach 27.69 dB on Set14, whose one gray picture its authors must have taken for RGB."""
    model, data = shared / "data/weights/srgan-port/netG_epoch_4_100.pth", shared / "data/set14/hr"
    done = run_cli("evaluate", "-m", model, data, "--scale", 4, "--metric", "psnr-y", "--explain", "--json")
    last = lines(done)[-1]
    told = {each["convention"]: each["value"] for each in last["explained"]}
    assert told["gray pictures taken for RGB"] == pytest.approx(27.69, abs=0.02)
    assert last["mean"]["psnr-y"] == pytest.approx(27.60, abs=0.02)  # by the literature's rule, gray is scored as gray


def test_references_that_are_the_results_are_infinite_and_it_is_said(run_cli: Run, photos: Path) -> None:
    first, *_, last = lines(run_cli("evaluate", photos, photos, "--metric", "psnr,mse", "--json"))
    assert last["mean"] == {"psnr": "inf", "mse": 0}
    assert first["note"] == "the result is the reference itself"
