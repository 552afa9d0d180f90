"""The subcommands of `mmrec`, one module per noun; a mistake of the user is a `UserError`."""
