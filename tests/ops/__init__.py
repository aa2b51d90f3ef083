"""What an operator of a bare host runs: the scripts, the unit, and a life in a fresh Debian."""
