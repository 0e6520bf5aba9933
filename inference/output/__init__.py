"""What a run writes: masks, overlays, the record of its folder, its trace."""
