"""CLIP's tokenizer files, rebuilt from its byte-pair encoding table."""

import gzip
import json
from pathlib import Path

from transformers import CLIPTokenizer

BOS, EOS = "<|startoftext|>", "<|endoftext|>"


def write_tokenizer(bpe: Path, folder: Path) -> CLIPTokenizer:
    """Rebuild CLIP's tokenizer files from OpenAI's BPE table (MIT, Copyright (c) 2021 OpenAI).

    The slice and the order of the vocabulary are those of OpenAI's `SimpleTokenizer`: 49,408 tokens.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = gzip.decompress(bpe.read_bytes()).decode("utf-8").split("\n")
    merges = lines[1 : 49152 - 256 - 2 + 1]
    letters = list(_byte_letters().values())
    words = [*letters, *(letter + "</w>" for letter in letters), *("".join(m.split()) for m in merges), BOS, EOS]
    vocabulary = {word: index for index, word in enumerate(words)}
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    compact = json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":"))
    (folder / "vocab.json").write_text(compact, encoding="utf-8")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "do_lower_case": True,
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": EOS,
        "unk_token": EOS,
        "errors": "replace",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return CLIPTokenizer.from_pretrained(folder)


def _byte_letters() -> dict[int, str]:
    """GPT-2's map from bytes to printable letters (Radford et al. 2019), as CLIP uses it."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
