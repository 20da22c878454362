"""One module a stage, each with `main(args)`: parse a frozen config with tyro, then call a room."""
