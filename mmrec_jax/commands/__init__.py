"""The subcommands of `mmrec`, a module each: its options, and what it does and prints."""
