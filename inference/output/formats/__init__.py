"""The masks of videos in the formats of data sets, annotation tools and video editors."""

from inference.output.formats.table import (
    EXPORTS,
    Conversion,
    ExportFormat,
    convert_masks,
    export_masks,
)

__all__ = ["EXPORTS", "Conversion", "ExportFormat", "convert_masks", "export_masks"]
