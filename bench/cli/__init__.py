"""The command-line interface: commands, live progress, tables of plan and status."""
