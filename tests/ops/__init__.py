"""What an operator of a bare host runs: the scripts, the unit, and a whole life in a fresh Debian."""
