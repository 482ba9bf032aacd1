"""`lora-lab lsp`: the linter for editors."""

import click


@click.command()
@click.option("--stdio", is_flag=True, help="Speak over the standard input and output, as without the option.")
@click.option("--no-disk", is_flag=True, help="Do not look for models, folders or captions when a file is saved.")
@click.option("--no-machine", is_flag=True, help="Do not judge by what this machine can do: another one trains.")
def command(stdio: bool, no_disk: bool, no_machine: bool) -> None:
    """Serve an editor: findings while you type, meanings on hover, fixes, completion.

    Editors start this by themselves; it speaks the Language Server Protocol over the standard input and output. The
    README shows how to set up VS Code, Neovim and Helix. Needs `pip install lora-lab[lsp]`.
    """
    import logging

    from lora_lab.failure import Failure

    logging.basicConfig(level=logging.ERROR)
    try:
        from lora_lab.editor.judging import Look
        from lora_lab.editor.server import make_server
        from lora_lab.lint.machine import Machine
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("pygls", "lsprotocol", "attrs", "cattrs"):
            raise
        raise Failure("the language server needs pygls", "pip install 'lora-lab[lsp]'") from None
    make_server(Look(not no_disk, None if no_machine else Machine())).start_io()
