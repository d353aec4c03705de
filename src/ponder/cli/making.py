"""cli/making: `train` and `eval`, handed on to the rooms that do them."""
