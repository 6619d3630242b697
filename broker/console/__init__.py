"""What every command shares: options, logs, tables, safe text. Knows no subject of a command."""
