"""The robot annotator: corrects videos in rounds, from their truth."""
