"""The simulated thorax: geometry, anatomy, findings, lesions, rendering."""
