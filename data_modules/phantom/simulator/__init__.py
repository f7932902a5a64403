"""The simulated thorax: geometry, anatomy, findings, lesions, rendering."""

__all__ = ["anatomy", "findings", "geometry", "lesions", "render"]
