"""What a person types and sees: commands, live progress, tables of plan and status."""
