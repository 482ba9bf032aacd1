"""`load_json_path`: which of two files a key comes from."""

from lora_lab.document import overlay, parse_json


def test_own_keys_win() -> None:
    """A key that the file sets stays; one that it lacks is taken from the loaded file."""
    merged = overlay(parse_json('{"net_dim": 8}'), parse_json('{"net_dim": 32, "alpha": 4}'))
    assert merged.values == {"net_dim": 8, "alpha": 4}


def test_null_is_not_set() -> None:
    """Tools write null for every unset key, so null does not hide what the loaded file says."""
    assert overlay(parse_json('{"alpha": null}'), parse_json('{"alpha": 4}')).values == {"alpha": 4}


def test_skipped_keys_are_not_taken() -> None:
    """Neither names in the skip list nor keys about config files come in."""
    loaded = parse_json('{"alpha": 4, "net_dim": 8, "load_json_path": "x", "multi_run_folder": "y"}')
    assert overlay(parse_json("{}"), loaded, skip=["alpha"]).values == {"net_dim": 8}


def test_taken_keys_point_at_where_they_come_in() -> None:
    """A finding about a taken key is shown at `load_json_path`, since the key is not in this file."""
    document = parse_json('{"load_json_path": "x.json"}')
    merged = overlay(document, parse_json('{"alpha": 4}'))
    assert merged.entries["alpha"].value_span == document.entries["load_json_path"].value_span
