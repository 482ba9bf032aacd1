"""A real client talks to `lora-lab lsp` over its standard input and output."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from lsprotocol import types as lsp
from pygls.lsp.client import BaseLanguageClient

import lora_lab
from lora_lab.cli import group

GOOD = {"base_model": "base", "img_folder": "pictures", "output_folder": "out"}
WITH_EMOJI = (
    '{\n  "base_model": "base",\n  "img_folder": "pictures", "training_comment": "😀😀", "net_dim": "8",\n'
    '  "output_folder": "out",\n  "keep_tokens": 1\n}\n'
)


class Editor:
    """A text editor's end of the wire."""

    def __init__(self, client: BaseLanguageClient, folder: Path) -> None:
        self.client = client
        self.folder = folder
        self.texts: dict[str, tuple[str, int]] = {}
        self.published: asyncio.Queue[lsp.PublishDiagnosticsParams] = asyncio.Queue()

    def uri(self, name: str) -> str:
        """Return the address of a file."""
        return (self.folder / name).as_uri()

    async def shown(self) -> list[lsp.Diagnostic]:
        """Wait for the next publication."""
        return list((await asyncio.wait_for(self.published.get(), 60)).diagnostics)

    async def open(self, name: str, text: str, language: str = "json") -> list[lsp.Diagnostic]:
        """Open a text and return what is found in it."""
        self.texts[name] = (text, 1)
        item = lsp.TextDocumentItem(self.uri(name), language, 1, text)
        self.client.text_document_did_open(lsp.DidOpenTextDocumentParams(item))
        return await self.shown()

    async def change(self, name: str, *changes: tuple[lsp.Range | None, str]) -> list[lsp.Diagnostic]:
        """Change pieces of a text."""
        version = self.texts[name][1] + 1
        self.texts[name] = (self.texts[name][0], version)
        events: list[lsp.TextDocumentContentChangeEvent] = [
            lsp.TextDocumentContentChangePartial(where, text)
            if where
            else lsp.TextDocumentContentChangeWholeDocument(text)
            for where, text in changes
        ]
        identifier = lsp.VersionedTextDocumentIdentifier(version, self.uri(name))
        self.client.text_document_did_change(lsp.DidChangeTextDocumentParams(identifier, events))
        return await self.shown()

    async def save(self, name: str) -> list[lsp.Diagnostic]:
        """Save a text."""
        self.client.text_document_did_save(lsp.DidSaveTextDocumentParams(lsp.TextDocumentIdentifier(self.uri(name))))
        return await self.shown()

    async def actions(self, name: str, where: lsp.Range, only: list[str] | None = None) -> list[lsp.CodeAction]:
        """Return what is offered for a range."""
        kinds = None if only is None else [lsp.CodeActionKind(one) if one == "quickfix" else one for one in only]
        found = await self.client.text_document_code_action_async(
            lsp.CodeActionParams(
                lsp.TextDocumentIdentifier(self.uri(name)), where, lsp.CodeActionContext([], only=kinds)
            )
        )
        return [one for one in found or [] if isinstance(one, lsp.CodeAction)]

    async def hover(self, name: str, line: int, unit: int) -> str:
        """Return the text shown at a place."""
        found = await self.client.text_document_hover_async(
            lsp.HoverParams(lsp.TextDocumentIdentifier(self.uri(name)), lsp.Position(line, unit))
        )
        assert found is None or isinstance(found.contents, lsp.MarkupContent)
        return found.contents.value if found and isinstance(found.contents, lsp.MarkupContent) else ""

    async def complete(self, name: str, line: int, unit: int) -> dict[str, lsp.CompletionItem]:
        """Return what can be written at a place, by label."""
        found = await self.client.text_document_completion_async(
            lsp.CompletionParams(lsp.TextDocumentIdentifier(self.uri(name)), lsp.Position(line, unit))
        )
        items = found.items if isinstance(found, lsp.CompletionList) else found or []
        return {one.label: one for one in items}


def place(line: int, first: int, last: int) -> lsp.Range:
    """Return a range within a line."""
    return lsp.Range(lsp.Position(line, first), lsp.Position(line, last))


EVERYWHERE = lsp.Range(lsp.Position(0, 0), lsp.Position(1000, 0))


def applied(text: str, edit: lsp.WorkspaceEdit | None, uri: str) -> str:
    """Make the change of an action, counting as the protocol does: in units of UTF-16."""
    assert edit
    assert edit.changes
    for one in edit.changes[uri]:
        lines = text.split("\n")
        starts = [sum(len(line) + 1 for line in lines[:at]) for at in (one.range.start.line, one.range.end.line)]
        offsets = []
        for start, position in zip(starts, (one.range.start, one.range.end), strict=True):
            line = lines[position.line].encode("utf-16-le")[: position.character * 2].decode("utf-16-le")
            offsets.append(start + len(line))
        text = text[: offsets[0]] + one.new_text + text[offsets[1] :]
    return text


def talk(folder: Path, conversation: Callable[[Editor], Awaitable[None]]) -> None:
    """Start the server, hold a conversation with it, and see it end in good order."""

    async def session() -> None:
        client = BaseLanguageClient("tests", "1")
        editor = Editor(client, folder)

        @client.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def on_diagnostics(params: lsp.PublishDiagnosticsParams) -> None:
            editor.published.put_nowait(params)

        environment = os.environ | {"PYTHONPATH": str(Path(lora_lab.__file__).parents[1])}
        await client.start_io(
            sys.executable, "-m", "lora_lab", "lsp", "--stdio", "--no-machine", env=environment, cwd=folder
        )
        try:
            capabilities = lsp.ClientCapabilities()
            await client.initialize_async(lsp.InitializeParams(capabilities, root_uri=folder.as_uri()))
            client.initialized(lsp.InitializedParams())
            await conversation(editor)
        finally:
            await client.shutdown_async(None)
            client.exit(None)
            await client.stop()

    asyncio.run(session())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a base model and pictures."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (tmp_path / "pictures" / "10_cat").mkdir(parents=True)
    (tmp_path / "pictures" / "10_cat" / "a.png").touch()
    (tmp_path / "pyproject.toml").write_text("")
    return tmp_path


def codes(found: list[lsp.Diagnostic]) -> list[object]:
    """Return the codes that were found."""
    return [one.code for one in found]


def test_findings_stand_where_they_should(folder: Path) -> None:
    """Positions count emoji as two; a setting without effect is faded whole; the source and code are there."""

    async def conversation(editor: Editor) -> None:
        found = await editor.open("c.json", WITH_EMOJI)
        by_code = {one.code: one for one in found}
        wrong, idle = by_code["LL003"], by_code["LL202"]
        line = WITH_EMOJI.splitlines()[2]
        before = len(line[: line.index('"8"')].encode("utf-16-le")) // 2
        assert wrong.range == place(2, before, before + 3)
        assert (wrong.severity, wrong.source) == (lsp.DiagnosticSeverity.Error, "lora-lab")
        assert wrong.message.endswith("write 8")
        assert list(idle.tags or ()) == [lsp.DiagnosticTag.Unnecessary]
        assert idle.range == place(4, 2, 18)

    talk(folder, conversation)


def test_typing(folder: Path) -> None:
    """Pieces of text that come one by one are put together right; a broken text is judged as far as it goes."""

    async def conversation(editor: Editor) -> None:
        await editor.open("c.json", WITH_EMOJI)
        line = WITH_EMOJI.splitlines()[2]
        at = len(line[: line.index('"8"')].encode("utf-16-le")) // 2
        assert "LL003" not in codes(await editor.change("c.json", (place(2, at, at + 3), "8")))
        broken = await editor.change("c.json", (place(4, 17, 18), '1, "learn'))
        assert "LL001" in codes(broken)
        assert "LL001" not in codes(await editor.change("c.json", (place(4, 17, 26), "1")))
        both = ((place(4, 17, 18), "2"), (lsp.Range(lsp.Position(4, 18), lsp.Position(4, 18)), ', "net_dimm": 4'))
        assert "LL002" in codes(await editor.change("c.json", *both))
        for text in ("", "{", '{"', "[" * 200, '{"net_dim"', '{"net_dim": }', "\x00", '{"net_dim": "\ud83d'):
            await editor.change("c.json", (None, text.encode("utf-8", "replace").decode()))
        assert codes(await editor.change("c.json", (None, json.dumps(GOOD)))) == []

    talk(folder, conversation)


def test_disk_is_looked_at_when_saved(folder: Path) -> None:
    """While typing the last look counts, for the values that it was about; the next one comes with the next save."""

    async def conversation(editor: Editor) -> None:
        text = json.dumps(GOOD | {"base_model": "gone"}, indent=1)
        assert "LL101" in codes(await editor.open("c.json", text))
        found = await editor.change("c.json", (place(0, 0, 0), "\n\n"))
        assert [one.range.start.line for one in found if one.code == "LL101"] == [3]
        assert "LL101" not in codes(await editor.change("c.json", (None, text.replace("gone", "away"))))
        assert "LL101" in codes(await editor.save("c.json"))
        assert "LL101" not in codes(await editor.change("c.json", (None, json.dumps(GOOD))))
        assert "LL101" not in codes(await editor.save("c.json"))

    talk(folder, conversation)


def test_hover_is_the_text_of_explain(folder: Path) -> None:
    """A key's meaning, typical values and pitfalls; another program's key is explained as ours."""

    async def conversation(editor: Editor) -> None:
        await editor.open("c.json", WITH_EMOJI)
        text = await editor.hover("c.json", 4, 5)
        explained = json.loads(CliRunner().invoke(group, ["explain", "keep_tokens", "--format", "json"]).output)
        assert text.startswith("### keep_tokens\n")
        for part in ("meaning", "typical"):
            assert explained[part] in text
        assert all(one["text"] in text for one in explained["pitfalls"])
        assert await editor.hover("c.json", 0, 0) == ""
        await editor.open("sd.toml", 'network_dim = 8\ntrain_data_dir = "i"\n', "toml")
        assert (await editor.hover("sd.toml", 0, 3)).startswith("### net_dim, here `network_dim`")
        await editor.open("grid.yaml", "base: c.json\nparameters:\n  net_dim: [4, 8]\n", "yaml")
        assert (await editor.hover("grid.yaml", 2, 4)).startswith("### net_dim")

    talk(folder, conversation)


FILES = {
    "c.json": (WITH_EMOJI, "json"),
    "c.toml": ('base_model = "base" # 😀\nimg_folder = "pictures"\noutput_folder = "out"\nnet_dim = "8"\n', "toml"),
    "c.yaml": ("base_model: base\nimg_folder: pictures\noutput_folder: out\nkeep_tokens: 1 # 😀\nalpha: '4'\n", "yaml"),
    "sd.toml": ('pretrained_model_name_or_path = "base"\ntrain_data_dir = "i"\nnetwork_dim = "8"\n', "toml"),
}


def test_fix_all_is_what_fix_writes(folder: Path) -> None:
    """The action for everything safe gives, byte for byte, what `lint --fix` writes; as do the fixes in turn."""
    wanted = {}
    for name, (text, _) in FILES.items():
        (folder / name).write_bytes(text.encode())
        CliRunner().invoke(group, ["lint", "--fix", "--no-disk", str(folder / name)])
        wanted[name] = (folder / name).read_bytes().decode()
        assert wanted[name] != text

    async def conversation(editor: Editor) -> None:
        for name, (text, language) in FILES.items():
            await editor.open(name, text, language)
            (everything,) = await editor.actions(name, EVERYWHERE, ["source.fixAll"])
            assert applied(text, everything.edit, editor.uri(name)) == wanted[name]
            now = text
            for _ in range(9):
                offered = [one for one in await editor.actions(name, EVERYWHERE, ["quickfix"]) if one.is_preferred]
                if not offered:
                    break
                now = applied(now, offered[0].edit, editor.uri(name))
                await editor.change(name, (None, now))
            assert now == wanted[name]
            assert await editor.actions(name, EVERYWHERE, ["source.fixAll"]) == []

    talk(folder, conversation)


IGNORABLE = [
    ("c.json", "json", '{"base_model": "base", "img_folder": "pictures", "output_folder": "out",\n"save_as": "pt"\n}'),
    ("c.toml", "toml", 'base_model = "base"\nimg_folder = "pictures"\noutput_folder = "out"\nsave_as = "pt"\n'),
    ("c.yaml", "yaml", "base_model: base\nimg_folder: pictures\noutput_folder: out\nsave_as: pt\n"),
    ("run.sh", "shellscript", "python train_network.py \\\n --network_dim 8 \\\n --save_model_as pt\n"),
]


def test_a_rule_can_be_ignored_where_it_speaks(folder: Path) -> None:
    """The comment that is inserted hides the finding; in its place stands that a reason is wanted."""

    async def conversation(editor: Editor) -> None:
        for name, language, text in IGNORABLE:
            found = {one.code: one for one in await editor.open(name, text, language)}
            offered = await editor.actions(name, found["LL701"].range, ["quickfix"])
            (ignore,) = [one for one in offered if one.title == "Ignore LL701 in this line"]
            after = applied(text, ignore.edit, editor.uri(name))
            now = codes(await editor.change(name, (None, after)))
            assert "LL701" not in now
            assert "LL012" in now
            with_reason = after.replace("ignore[LL701]", "ignore[LL701] an old viewer")
            assert "LL012" not in codes(await editor.change(name, (None, with_reason)))

    talk(folder, conversation)


def test_the_file_can_ignore_a_rule(folder: Path) -> None:
    """The key for the whole file gets one more rule, whatever it has."""

    async def conversation(editor: Editor) -> None:
        text = json.dumps(GOOD | {"save_as": "pt", "lora_lab:ignore": {"LL623": "faces are alike"}, "flip_aug": True})
        found = {one.code: one for one in await editor.open("c.json", text)}
        offered = await editor.actions("c.json", found["LL701"].range)
        (ignore,) = [one for one in offered if one.title == "Ignore LL701 in this file"]
        after = json.loads(applied(text, ignore.edit, editor.uri("c.json")))
        assert after["lora_lab:ignore"] == {"LL623": "faces are alike", "LL701": ""}

    talk(folder, conversation)


def test_settings_count(folder: Path) -> None:
    """What pyproject.toml ignores is not shown; settings that can't be used are said at the top."""

    async def conversation(editor: Editor) -> None:
        (folder / "pyproject.toml").write_text('[tool.lora-lab]\nignore = ["LL202"]\n')
        shown = codes(await editor.open("c.json", WITH_EMOJI))
        assert "LL003" in shown
        assert "LL202" not in shown
        (folder / "lora-lab.toml").write_text('ignore = ["LL998"]\n')
        first, *_ = await editor.save("c.json")
        assert "there is no rule" in first.message
        assert first.code is None

    talk(folder, conversation)


def test_keys_and_choices_are_completed(folder: Path) -> None:
    """Keys that are not there yet, with their documentation; the values of a choice; in the file's own words."""

    async def conversation(editor: Editor) -> None:
        await editor.open("c.json", '{"base_model": "base",\n "net_"\n "scheduler": "cos"}')
        keys = await editor.complete("c.json", 1, 6)
        assert "net_dim" in keys
        assert "base_model" not in keys
        edit = keys["net_dim"].text_edit
        assert isinstance(edit, lsp.TextEdit)
        assert (edit.range, edit.new_text) == (place(1, 1, 7), '"net_dim": ')
        resolved = await editor.client.completion_item_resolve_async(keys["net_dim"])
        assert isinstance(resolved.documentation, lsp.MarkupContent)
        assert "**Typical:**" in resolved.documentation.value
        values = await editor.complete("c.json", 2, 18)
        assert {"cosine", "constant", "plateau"} <= values.keys()
        edit = values["cosine"].text_edit
        assert isinstance(edit, lsp.TextEdit)
        assert (edit.range, edit.new_text) == (place(2, 14, 19), '"cosine"')
        await editor.open("c.toml", "base_model = 'b'\nbuckets = \n", "toml")
        assert {"true", "false"} == (await editor.complete("c.toml", 1, 10)).keys()
        await editor.open("sd.toml", 'pretrained_model_name_or_path = "b"\ntrain_data_dir = "i"\nnetw\n', "toml")
        assert "network_dim" in await editor.complete("sd.toml", 2, 4)
        assert await editor.complete("c.json", 0, 20) == {}

    talk(folder, conversation)


def test_other_files_are_left_alone(folder: Path) -> None:
    """A file that is no training config shows nothing and offers nothing; closing a file takes its findings away."""

    async def conversation(editor: Editor) -> None:
        assert await editor.open("package.json", '{"name": "web", "private": true,}') == []
        assert await editor.actions("package.json", EVERYWHERE) == []
        assert await editor.open("c.json", WITH_EMOJI)
        identifier = lsp.TextDocumentIdentifier(editor.uri("c.json"))
        editor.client.text_document_did_close(lsp.DidCloseTextDocumentParams(identifier))
        assert await editor.shown() == []

    talk(folder, conversation)
