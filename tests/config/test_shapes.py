"""The values that are more than a number or a word."""

import pytest

from lora_lab.config import OPTIMIZERS, arguments, check, sides
from lora_lab.config.shapes import known_optimizer

PATHS = {"base_model": "base", "img_folder": "pictures", "output_folder": "out"}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (512, (512, 512)),
        ("512,768", (512, 768)),
        ("640, 512", (640, 512)),
        ("64x8192", (64, 8192)),
        ([96, 128], (96, 128)),
    ],
)
def test_a_resolution_is_read_as_width_and_height(written: object, read: tuple[int, int]) -> None:
    """All ways to write a resolution give the same property, and the attribute stays as given."""
    checked = check({**PATHS, "train_resolution": written})
    assert checked.problems == ()
    assert checked.config.resolution == read
    assert checked.config.train_resolution == written


@pytest.mark.parametrize("written", ["63,512", "512,8193", [512, 32], [8193, 512]])
def test_each_side_of_a_resolution_has_limits(written: object) -> None:
    """One side out of range is enough."""
    assert [one.kind for one in check({**PATHS, "train_resolution": written}).problems] == ["range"]


@pytest.mark.parametrize(
    "written", ["512,", "512,512,512", "512,512\n", "a,b", "", [], [512], [512.0, 512], [True, 512]]
)
def test_what_is_no_resolution_is_a_type_problem(written: object) -> None:
    """Anything but two whole numbers is refused."""
    assert [one.kind for one in check({**PATHS, "train_resolution": written}).problems] == ["type"]


def test_sides_refuses_other_texts() -> None:
    """Read on its own, a wrong text is a ValueError."""
    with pytest.raises(ValueError, match="comma"):
        sides("512")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_is_known_in_any_case(name: str) -> None:
    """Lower and upper case give the usual spelling."""
    assert known_optimizer(name.lower()) == known_optimizer(name.upper()) == name


@pytest.mark.parametrize("name", ["torch.optim.SGD", "pkg.mod.Class"])
def test_another_packages_optimizer_stays_as_it_is(name: str) -> None:
    """module.Class passes."""
    assert check({**PATHS, "optimizer_type": name}).config.optimizer_type == name


@pytest.mark.parametrize("name", ["", "torch.", ".SGD", "a b.C", "NoSuch"])
def test_other_names_are_no_optimizer(name: str) -> None:
    """Neither known nor module.Class."""
    assert [one.kind for one in check({**PATHS, "optimizer_type": name}).problems] == ["choice"]


def test_optimizer_arguments_are_literals() -> None:
    """List and object give the same arguments; words of Python and of JSON both work, other text stays text."""
    pairs = [
        "weight_decay=0.1",
        "betas=0.9,0.99",
        "decouple=True",
        "amsgrad=false",
        "mode=fast",
        "eps = 1e-8",
        "x=None",
    ]
    expected = {
        "weight_decay": 0.1,
        "betas": (0.9, 0.99),
        "decouple": True,
        "amsgrad": False,
        "mode": "fast",
        "eps": 1e-8,
        "x": None,
    }
    assert arguments(pairs) == expected
    assert arguments({pair.partition("=")[0].strip(): pair.partition("=")[2] for pair in pairs}) == expected
    assert arguments({"weight_decay": 0.1, "betas": [0.9, 0.99]}) == {"weight_decay": 0.1, "betas": [0.9, 0.99]}
    assert arguments(None) == {}


@pytest.mark.parametrize("value", [["=1"], ["a b=1"], {"a b": 1}, {"": 1}, [1], "x=1"])
def test_optimizer_arguments_have_names(value: object) -> None:
    """Each argument needs a name that Python can take."""
    assert [one.kind for one in check({**PATHS, "optimizer_args": value}).problems] == ["type"]
