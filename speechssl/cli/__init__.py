"""The `speechssl` command: one thin file a command over the library."""
