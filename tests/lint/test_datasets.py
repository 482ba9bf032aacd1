"""What lint says of the pictures and captions that a config or a data set file leads to."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lora_lab.document.dialects import decode_config
from lora_lab.lint import Disk, Finding, lint_document, lint_values

LayOut = Callable[[str], Path]

FIVE = "\n".join(f"{{}}/{name}.png" for name in "abcde")
BASE = 'base/model_index.json: {"_class_name": "StableDiffusionPipeline"}\n'
VALUES = {"base_model": "base", "img_folder": "pics", "output_folder": "out"}


def five(folder: str) -> str:
    """Return the lines that lay out five pictures."""
    return FIVE.replace("{}", folder) + "\n"


def found(folder: Path, **values: object) -> dict[str, Finding]:
    """Return the findings about a config in a folder, by code."""
    return {one.code: one for one in lint_values(VALUES | values, folder, Disk(folder)).findings}


def of_toml(folder: Path, text: str) -> dict[str, Finding]:
    """Return the findings about a data set file in a folder, by code."""
    document = decode_config(text.encode(), folder / "dataset.toml")
    return {one.code: one for one in lint_document(document, Disk(folder)).findings if one.code != "LL014"}


def subset(path: str, *more: str) -> str:
    """Return a data set file with one folder."""
    return "\n".join(["[[datasets]]", "[[datasets.subsets]]", f'image_dir = "{path}"', *more, ""])


def test_a_good_folder_is_quiet(lay_out: LayOut) -> None:
    """Five pictures of the right size with good captions, ten times each: nothing to say."""
    captions = "".join(f"pics/10_cat/{name}.txt: a cat, number {name}\n" for name in "abcde")
    assert found(lay_out(BASE + five("pics/10_cat") + captions)) == {}


def test_the_quickstarts_pictures_are_quiet() -> None:
    """The pictures that come with the package give no finding with the quickstart's own settings."""
    values = {
        "base_model": "lora_lab:quickstart/base",
        "img_folder": "lora_lab:quickstart/pictures",
        "output_folder": "out",
        "train_resolution": 128,
        "min_bucket_resolution": 64,
        "max_bucket_resolution": 256,
        "batch_size": 4,
        "max_steps": 150,
    }
    codes = {one.code for one in lint_values(values, Path(), Disk(Path())).findings}
    assert not {code for code in codes if code[2] in "126" or code.startswith("LL52")}


def test_a_data_sets_folders_are_looked_at(lay_out: LayOut) -> None:
    """Each named folder gets the checks of a folder of pictures, at its own place in the file."""
    folder = lay_out(five("cats") + "cats/f.png: (empty)\ncats/a.txt: \\xff\ndogs/10_dog/a.png\n")
    text = subset("cats", 'caption_extension = ".txt"') + '[[datasets.subsets]]\nimage_dir = "dogs"\n'
    text += '[[datasets.subsets]]\nimage_dir = "gone"\n'
    codes = of_toml(folder, text)
    assert set(codes) == {"LL103", "LL107", "LL141", "LL221", "LL223"}
    lines = {code: one.span.line for code, one in codes.items() if one.span}
    assert (lines["LL141"], lines["LL107"], lines["LL103"]) == (3, 6, 8)
    assert "in 10_dog inside it: name that folder" in codes["LL107"].remedy
    assert codes["LL103"].keys == ("image_dir",)


def test_the_name_of_a_data_sets_folder_says_no_repeats(lay_out: LayOut) -> None:
    """A folder that is called `0_cat` is read when the file names it, as often as num_repeats says."""
    folder = lay_out(five("x/0_cat"))
    assert of_toml(folder, subset("x/0_cat", 'caption_extension = ".txt"')) == {}
    assert set(of_toml(folder, subset("x/0_cat", "num_repeats = 0"))) == {"LL106", "LL150"}


@pytest.mark.parametrize("path", ["$DATA/cats", "", "{folder}"])
def test_a_folder_that_only_the_run_knows(path: str, lay_out: LayOut) -> None:
    """Where one folder is a variable, nothing is said about any."""
    text = subset(path) + '[[datasets.subsets]]\nimage_dir = "gone"\n'
    codes = of_toml(lay_out(""), text)
    assert codes == {}


def test_caption_extension_left_out(lay_out: LayOut) -> None:
    """A data set file without an extension makes sd-scripts look for .caption: .txt files are not read."""
    folder = lay_out(five("cats") + "cats/a.txt: a cat\n")
    assert of_toml(folder, subset("cats"))["LL220"].severity == "warning"
    folder = lay_out(five("dogs") + "".join(f"dogs/{name}.caption: a dog\n" for name in "abcde"))
    assert of_toml(folder, subset("dogs")) == {}


def test_space_in_a_data_sets_path(lay_out: LayOut) -> None:
    """A space behind a folder's name is said at its place."""
    codes = of_toml(lay_out(five("cats")), subset("cats "))
    assert {"LL103", "LL131"} <= set(codes)
    assert codes["LL131"].span is not None
    assert codes["LL131"].span.line == 3


@pytest.mark.parametrize(
    ("files", "given", "said"),
    [
        ("reg/a.png", "reg", "directly"),
        ("reg/1_cat/a.png", "reg/1_cat", "the folder above"),
        ("reg/cat/a.png", "reg", "no repeats"),
        ("reg/x.txt: x", "reg", "no folder like"),
        ("", "reg", "no regularisation folder"),
    ],
)
def test_regularisation_folder(files: str, given: str, said: str, lay_out: LayOut) -> None:
    """Each way to lay it out wrongly is told by itself."""
    codes = found(lay_out(BASE + five("pics/10_cat") + files), reg_img_folder=given)
    assert said in codes["LL120"].message


@pytest.mark.parametrize(("name", "leaf"), [("10_cat", True), ("2024", False), ("cats", False)])
def test_leaf_folder_given(name: str, leaf: bool, lay_out: LayOut) -> None:
    """A folder of pictures that is called N_name stands one level too deep; another has the pictures one too high."""
    one = found(lay_out(BASE + five(f"data/{name}")), img_folder=f"data/{name}")["LL104"]
    assert ("is the folder above" in one.message) == leaf
    assert (one.fix is not None) == leaf


def test_regularisation_files_stop_the_run_too(lay_out: LayOut) -> None:
    """An empty folder, a broken picture and a caption that is not UTF-8 are errors there as well."""
    files = "reg/1_a/a.png: (empty)\nreg/1_a/a.txt: \\xff\nreg/2_b/readme.md: x"
    codes = found(lay_out(BASE + five("pics/10_cat") + files), reg_img_folder="reg")
    for code in ("LL107", "LL141", "LL223"):
        assert codes[code].keys == ("reg_img_folder",)
        assert codes[code].severity == "error"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("\\xff\\xfea\\0", "UTF-16"),
        ("it\\x92s", "typographic"),
        ("caf\\xe9", "older encoding"),
        ("\\xea\\xee\\xf8\\xea\\xe0", "older encoding"),
    ],
)
def test_other_encodings(data: str, said: str, lay_out: LayOut) -> None:
    """What a caption that is not UTF-8 looks like."""
    assert said in found(lay_out(BASE + five("pics/10_cat") + f"pics/10_cat/a.txt: {data}"))["LL223"].message


@pytest.mark.parametrize(
    ("width", "height", "severity"), [(512, 512, ""), (470, 470, ""), (460, 460, "info"), (300, 300, "warning")]
)
def test_enlarging(width: int, height: int, severity: str, lay_out: LayOut) -> None:
    """A picture a little too small is no matter, one far too small a warning."""
    files = BASE + five("pics/10_cat") + f"pics/10_cat/f.png: {width}x{height}"
    one = found(lay_out(files)).get("LL631")
    assert (one.severity if one else "") == severity


@pytest.mark.parametrize(
    ("size", "settings", "cut"),
    [
        ("900x600", {}, False),
        ("900x600", {"buckets": False}, True),
        ("640x512", {"buckets": False}, True),
        ("620x512", {"buckets": False}, False),
        ("3000x500", {}, True),
        ("1500x700", {}, False),
        ("120x120", {"bucket_no_upscale": True}, True),
        ("128x128", {"bucket_no_upscale": True}, False),
    ],
)
def test_cropping(size: str, settings: dict[str, object], cut: bool, lay_out: LayOut) -> None:
    """A fifth of the area, cut off in the bucket that the trainer chooses, is the limit."""
    codes = found(lay_out(BASE + five("pics/10_cat") + f"pics/10_cat/f.png: {size}"), **settings)
    assert ("LL634" in codes) == cut


def test_batches(lay_out: LayOut) -> None:
    """Ten shapes with two uses each make ten batches of four, not five."""
    sizes = [(512, 512), (448, 576), (576, 448), (384, 640), (640, 384), (320, 704), (704, 320), (320, 768)]
    files = "".join(f"pics/2_cat/{index}.png: {w}x{h}\n" for index, (w, h) in enumerate(sizes))
    one = found(lay_out(BASE + files), batch_size=4)["LL635"]
    assert "16 uses an epoch in 8 shapes make 8 batches, not 4" in one.message
    assert "LL635" not in found(lay_out(""), batch_size=2)


def test_length_of_a_run(lay_out: LayOut) -> None:
    """Steps are those of the formula: 5 pictures × 4 repeats / batch 3 → 7 batches / 2 → 4 steps × 12 epochs."""
    folder = lay_out(BASE + five("pics/4_cat"))
    settings = {"batch_size": 3, "gradient_acc_steps": 2, "num_epochs": 12}
    codes = found(folder, **settings, save_every_n_steps=100, lr_warmup_steps=60)
    assert "48 steps (4 an epoch × 12 epochs)" in codes["LL521"].message
    assert "48 steps" in codes["LL522"].message
    assert "48 steps" in codes["LL523"].message
    quiet = found(folder, **settings | {"num_epochs": 13}, save_every_n_steps=52, lr_warmup_steps=51)
    assert not {"LL521", "LL522", "LL523"} & set(quiet)


def test_regularisation_doubles_the_steps(lay_out: LayOut) -> None:
    """5 pictures × 4 repeats and as many regularisation pictures: 40 steps, not 20."""
    files = BASE + five("pics/4_cat") + "reg/1_cat/x.png"
    assert " 40 steps" in found(lay_out(files), reg_img_folder="reg")["LL526"].message
    assert "LL526" not in found(lay_out(""))


def test_length_in_steps(lay_out: LayOut) -> None:
    """Where steps give the length, intervals in epochs are compared with the epochs that they make."""
    folder = lay_out(BASE + five("pics/10_cat"))
    codes = found(folder, max_steps=120, save_every_n_epochs=4, sample_every_n_epochs=3)
    assert "3 epoch(s), of 50 steps each" in codes["LL521"].message
    assert codes["LL521"].keys[0] == "save_every_n_epochs"
    assert "LL524" in found(folder, max_steps=49)
    assert "LL524" not in found(folder, max_steps=50)


def test_unknown_size_makes_no_length(lay_out: LayOut) -> None:
    """Where a picture's size is not known, nothing is said about steps."""
    folder = lay_out(BASE + "pics/1_cat/a.png\npics/1_cat/b.png: GIF89a\\x40\\0\\x40\\0\\0\\0\\0")
    assert not {code for code in found(folder) if code.startswith("LL52")}


@pytest.mark.parametrize(("tokens", "limit", "long"), [(75, 75, False), (76, 75, True), (150, 150, False)])
def test_caption_at_the_limit(tokens: int, limit: int, long: bool, lay_out: LayOut) -> None:
    """A caption that fills the limit exactly is whole."""
    files = BASE + five("pics/10_cat") + "pics/10_cat/a.txt: " + "cat " * tokens
    assert ("LL230" in found(lay_out(files), max_clip_token_length=limit)) == long


def test_what_a_caption_loses(lay_out: LayOut) -> None:
    """The words that fall off the end are shown, and the smallest limit that holds the caption."""
    files = BASE + five("pics/10_cat") + "pics/10_cat/a.txt: " + "cat " * 74 + "blue_eyes, hat"
    one = found(lay_out(files))["LL230"]
    assert 'loses "_eyes, hat"' in one.message or 'loses "eyes, hat"' in one.message
    assert "to 150" in one.remedy
    assert "shuffled" in found(lay_out(""), shuffle_captions=True)["LL230"].message


def test_token_limit_is_not_that_of_other_families(lay_out: LayOut) -> None:
    """A family that reads captions with a T5 is not told of CLIP's 75 tokens."""
    files = five("pics/10_cat") + "".join(f"pics/10_cat/{name}.txt: {'cat ' * 80}\n" for name in "abcde")
    text = (
        'pretrained_model_name_or_path = "m"\ntrain_data_dir = "pics"\noutput_dir = "o"\ncaption_extension = ".txt"\n'
    )
    folder = lay_out(files)
    assert "LL230" in of_toml(folder, text)
    assert "LL230" not in of_toml(folder, text + 't5xxl = "t5.safetensors"\nae = "ae.safetensors"\n')
