"""The command line: arguments, launching, one-line errors."""
