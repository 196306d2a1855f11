"""`python -m gantool`, and hence `torchrun -m gantool`."""

from gantool.cli import main

main()
