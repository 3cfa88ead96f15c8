"""Figures of the reports, in the colours of the methods; equal tables give equal bytes."""
