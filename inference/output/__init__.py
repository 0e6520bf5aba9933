"""What a run writes: masks, overlays, its folder, its trace."""
