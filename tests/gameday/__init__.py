"""Drills: what can go wrong is named, judged, refused where it must be, and undone."""
