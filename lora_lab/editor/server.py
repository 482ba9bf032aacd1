"""The language server: what the other modules find, in the words of LSP. The only module that imports pygls.

https://microsoft.github.io/language-server-protocol/specifications/lsp/3.17/specification/
"""

from collections.abc import Iterator
from pathlib import Path

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path

from lora_lab import __version__
from lora_lab.document import Document
from lora_lab.editor import actions
from lora_lab.editor.completion import Form, completions, form_of
from lora_lab.editor.hover import hover, page
from lora_lab.editor.judging import Look, Opened, judge_for, opened
from lora_lab.editor.positions import Change, Place, Positions, Replacement, changed
from lora_lab.lint import RULES, Finding

SOURCE = "lora-lab"
_SEVERITIES = {
    "error": lsp.DiagnosticSeverity.Error,
    "warning": lsp.DiagnosticSeverity.Warning,
    "info": lsp.DiagnosticSeverity.Information,
}
_WITH_IDLE_KEYS = frozenset(rule.code for rule in RULES if rule.idle)
FIX_ALL = f"{lsp.CodeActionKind.SourceFixAll.value}.loraLab"


class Server(LanguageServer):
    """Keeps the texts that the editor has open, and what was found in them.

    The texts are kept here and not in pygls' workspace, which takes U+2028 and form feeds for ends of lines.
    """

    def __init__(self, look: Look) -> None:
        super().__init__("lora-lab", __version__, text_document_sync_kind=lsp.TextDocumentSyncKind.Incremental)
        self.look = look
        self.open: dict[str, Opened] = {}
        self.languages: dict[str, str] = {}

    @property
    def encoding(self) -> str:
        """Return what the two sides count characters by."""
        agreed = self.server_capabilities.position_encoding
        return str(getattr(agreed, "value", agreed) or "utf-16")

    def judge(self, uri: str, text: str, version: int | None, look: Look | None = None) -> None:
        """Judge a text and tell the editor what was found."""
        self.open[uri] = now = opened(text, _path(uri), self.open.get(uri), look)
        found = diagnostics(now, self.encoding)
        self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, list(found), version))


def _path(uri: str) -> Path | None:
    """Return the file of an address; None where it is no file, as a text that was never saved."""
    path = to_fs_path(uri) if uri.startswith("file:") else None
    return Path(path) if path else None


def _positions(now: Opened, encoding: str) -> Positions:
    return Positions(now.document.text if now.document else now.text, encoding)


def _range(positions: Positions, start: int, end: int) -> lsp.Range:
    first, last = positions.place(start), positions.place(max(start, end))
    return lsp.Range(lsp.Position(*first), lsp.Position(*last))


def _offset(positions: Positions, position: lsp.Position) -> int:
    return positions.offset(Place(position.line, position.character))


def diagnostics(now: Opened, encoding: str) -> Iterator[lsp.Diagnostic]:
    """Yield what was found, as the editor shows it."""
    nowhere = lsp.Range(lsp.Position(0, 0), lsp.Position(0, 0))
    if now.failure:
        message = f"{now.failure.what}; {now.failure.remedy}"
        yield lsp.Diagnostic(nowhere, message, lsp.DiagnosticSeverity.Error, source=SOURCE)
    if now.document is None:
        return
    positions = Positions(now.document.text, encoding)
    for finding in now.findings:
        start, end = _extent(now.document, finding)
        tags = [lsp.DiagnosticTag.Unnecessary] if _is_idle(finding) else None
        message = f"{finding.message}\n{finding.remedy}" if finding.remedy else finding.message
        yield lsp.Diagnostic(
            _range(positions, start, end) if finding.span else nowhere,
            message,
            _SEVERITIES[finding.severity],
            finding.code,
            source=SOURCE,
            tags=tags,
            data={"code": finding.code, "name": finding.name},
        )


def _is_idle(finding: Finding) -> bool:
    """Say whether a finding is about settings that could as well not be there."""
    goes = finding.fix is not None and all(edit.action == "remove" for edit in finding.fix.edits)
    return goes and ((finding.fix is not None and finding.fix.safe) or finding.code in _WITH_IDLE_KEYS)


def _extent(document: Document, finding: Finding) -> tuple[int, int]:
    """Return the offsets of what a finding marks: a setting without effect is marked whole."""
    if finding.span is None:
        return 0, 0
    start, end = finding.span.start, finding.span.end
    if _is_idle(finding):
        for entry in document.entries.values():
            if finding.span in (entry.value_span, entry.key_span):
                return entry.key_span.start, entry.value_span.end
    return start, end


def make_server(look: Look) -> Server:
    """Return the server with all it can do; `start_io` runs it. `look` says what opening and saving look at."""
    server = Server(look)
    _keep_in_step(server)
    _answer(server)
    return server


def _keep_in_step(server: Server) -> None:
    """Take note of what the editor opens, changes, saves and closes."""

    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    def did_open(params: lsp.DidOpenTextDocumentParams) -> None:
        one = params.text_document
        server.languages[one.uri] = one.language_id
        server.judge(one.uri, one.text, one.version, server.look)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def did_change(params: lsp.DidChangeTextDocumentParams) -> None:
        uri = params.text_document.uri
        text = server.open[uri].text if uri in server.open else ""
        for change in params.content_changes:
            text = changed(text, _change(change), server.encoding)
        server.judge(uri, text, params.text_document.version)

    @server.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
    def did_save(params: lsp.DidSaveTextDocumentParams) -> None:
        uri = params.text_document.uri
        if uri in server.open:
            server.judge(uri, server.open[uri].text, None, server.look)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def did_close(params: lsp.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        server.open.pop(uri, None)
        server.languages.pop(uri, None)
        server.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, []))


def _answer(server: Server) -> None:
    """Answer what the editor asks about a place."""

    @server.feature(lsp.TEXT_DOCUMENT_HOVER)
    def on_hover(params: lsp.HoverParams) -> lsp.Hover | None:
        now = server.open.get(params.text_document.uri)
        if now is None:
            return None
        positions = _positions(now, server.encoding)
        text = now.document.text if now.document else now.text
        found = hover(text, now.document, _offset(positions, params.position))
        if found is None:
            return None
        content = lsp.MarkupContent(lsp.MarkupKind.Markdown, found.text)
        return lsp.Hover(content, _range(positions, found.start, found.end))

    @server.feature(
        lsp.TEXT_DOCUMENT_COMPLETION,
        lsp.CompletionOptions(trigger_characters=['"', "-", "=", ":"], resolve_provider=True),
    )
    def on_completion(params: lsp.CompletionParams) -> list[lsp.CompletionItem]:
        uri = params.text_document.uri
        now = server.open.get(uri)
        form = form_of(_path(uri), server.languages.get(uri, ""))
        return list(_items(now, form, params.position, server.encoding)) if now and form else []

    @server.feature(lsp.COMPLETION_ITEM_RESOLVE)
    def on_resolve(item: lsp.CompletionItem) -> lsp.CompletionItem:
        if isinstance(item.data, str):
            item.documentation = lsp.MarkupContent(lsp.MarkupKind.Markdown, page(item.data))
        return item

    kinds: list[lsp.CodeActionKind | str] = [lsp.CodeActionKind.QuickFix, FIX_ALL]

    @server.feature(lsp.TEXT_DOCUMENT_CODE_ACTION, lsp.CodeActionOptions(code_action_kinds=kinds))
    def on_code_action(params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
        now = server.open.get(params.text_document.uri)
        return list(_code_actions(now, params, server.encoding)) if now and now.document else []


def _change(change: lsp.TextDocumentContentChangeEvent) -> Change:
    """Return an editor's change in the words of `positions`."""
    if isinstance(change, lsp.TextDocumentContentChangeWholeDocument):
        return Change(change.text)
    first, last = change.range.start, change.range.end
    return Change(change.text, Place(first.line, first.character), Place(last.line, last.character))


def _items(now: Opened, form: Form, position: lsp.Position, encoding: str) -> Iterator[lsp.CompletionItem]:
    """Yield what can be written at a position."""
    positions = _positions(now, encoding)
    text = now.document.text if now.document else now.text
    for at, one in enumerate(completions(text, form, now.document, _offset(positions, position))):
        yield lsp.CompletionItem(
            one.label,
            kind=lsp.CompletionItemKind.Property if one.is_key else lsp.CompletionItemKind.Value,
            detail=one.detail or None,
            text_edit=lsp.TextEdit(_range(positions, one.start, one.end), one.text),
            filter_text=one.typed,
            sort_text=f"{at:03}",
            data=one.key,
        )


def _code_actions(now: Opened, params: lsp.CodeActionParams, encoding: str) -> Iterator[lsp.CodeAction]:
    """Yield the changes that are offered for a range."""
    document, uri = now.document, params.text_document.uri
    if document is None:
        return
    positions = Positions(document.text, encoding)
    first, last = _offset(positions, params.range.start), _offset(positions, params.range.end)
    here = [one for one in now.findings if one.span and _meets(_extent(document, one), first, last)]
    reported = [one for one in diagnostics(now, encoding) if one in params.context.diagnostics]
    wanted = params.context.only
    if _is_wanted(lsp.CodeActionKind.QuickFix.value, wanted):
        for action in (*actions.fixes(document, here), *actions.suppressions(document, here)):
            about = [one for one in reported if action.finding and one.code == action.finding.code]
            kind = lsp.CodeActionKind.QuickFix
            preferred = action.preferred or None
            edit = _edit(uri, positions, action.change)
            yield lsp.CodeAction(action.title, kind, about or None, preferred, edit=edit)
    everything = actions.all_fixes(document, judge_for(_path(uri))) if _is_wanted(FIX_ALL, wanted) else None
    if everything:
        yield lsp.CodeAction(everything.title, FIX_ALL, edit=_edit(uri, positions, everything.change))


def _is_wanted(kind: str, only: object) -> bool:
    """Say whether the editor asks for a kind of actions: an outer kind stands for its inner ones."""
    asked = [str(getattr(one, "value", one)) for one in only] if isinstance(only, list | tuple) else None
    return asked is None or any(kind == one or kind.startswith(f"{one}.") or one == "" for one in asked)


def _meets(extent: tuple[int, int], first: int, last: int) -> bool:
    return extent[0] <= last and first <= extent[1]


def _edit(uri: str, positions: Positions, change: Replacement) -> lsp.WorkspaceEdit:
    """Return a change as the editor makes it."""
    return lsp.WorkspaceEdit({uri: [lsp.TextEdit(_range(positions, change.start, change.end), change.text)]})
