"""What an editor shows of a config while it is written: findings, meanings, fixes, completions. `server` speaks LSP."""
