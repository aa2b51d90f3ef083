"""Every named crash point with every act: what is predicted stands in `cells.py`, the tests try it.

pytest -n 2 tests/crash/crash_points --all      # all cells, some minutes
pytest -n 0 tests/crash/crash_points            # a handful
"""
