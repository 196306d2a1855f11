"""The commands: options and their help, checked; then one function is called. Nothing here imports anything heavy."""
