"""What the augmentation of training clips is: ranges of colour and geometry, and colour changes.

Legend: H W height and width in pixels. Source of the parameters: the public training code of STCN.

Our difference, for speed: colours change after the warp, on the crop's pixels only. In the
published code, colour changes of a whole clip come before it.
"""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True, kw_only=True)
class ColourJitter:
    """Ranges of a colour change, each 0 or above.

    brightness, contrast, saturation: the factor is uniform in 1 ± value. hue: the shift is uniform
    in ± value turns of the colour circle, at most 0.5.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def draw(self, rng: np.random.Generator, grey_probability: float = 0.0) -> "ColourChange":
        """Draw a change. grey_probability: of a change that also makes the image grey."""
        brightness, contrast, saturation = (
            rng.uniform(max(0.0, 1 - spread), 1 + spread)
            for spread in (self.brightness, self.contrast, self.saturation)
        )
        return ColourChange(
            brightness,
            contrast,
            saturation,
            hue=rng.uniform(-self.hue, self.hue),
            grey=bool(rng.random() < grey_probability),
        )


@dataclass(frozen=True)
class ColourChange:
    """One drawn colour change, applied in the order of its fields.

    The published code also draws the order, which has no effect except by hue, rounding and
    clipping.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    grey: bool

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Change an RGB image uint8 [H, W, 3]; returns the same type and shape.

        Contrast scales about the mean grey of the image, saturation about the grey of each pixel.
        """
        if self.brightness != 1 or self.contrast != 1:
            image = cv2.LUT(image, self._brightness_and_contrast_table(image))
        if self.saturation != 1 or self.grey:
            grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            if self.grey:
                return grey
            image = cv2.addWeighted(image, self.saturation, grey, 1 - self.saturation, 0)
        if self.hue:
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
            # a full turn is 256 steps, so the overflow of uint8 wraps around the colour circle
            hsv[..., 0] += np.uint8(round(self.hue * 256) % 256)
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
        return image

    def _brightness_and_contrast_table(self, image: np.ndarray) -> np.ndarray:
        """The new value of each of the 256 old ones."""
        brightened = np.clip(np.arange(256) * self.brightness, 0, 255)
        mean_grey = brightened[cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)].mean()
        stretched = np.rint(brightened * self.contrast + mean_grey * (1 - self.contrast))
        return np.clip(stretched, 0, 255).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class ClipAugmentation:
    """Augmentation of video clips (stages 1 to 3). The defaults are the published values.

    One crop, flip and colour change for the whole clip; a small rotation, shear and colour change
    for each frame.

    crop_size: side of the crop in pixels. crop_area: range of the share of the image that the crop
    covers (BL30K: 0.25 to 1). crop_aspect: range of the crop's width / height.
    keep_surroundings: fill the corners of rotated frames with the image beyond the crop instead of
    the mean colour (our option; published: False).
    """

    crop_size: int = 384
    flip_probability: float = 0.5
    crop_area: tuple[float, float] = (0.36, 1.0)
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    clip_colour: ColourJitter = ColourJitter(brightness=0.1, contrast=0.03, saturation=0.03)
    grey_probability: float = 0.05
    frame_rotation_degrees: float = 15.0
    frame_shear_degrees: float = 10.0
    frame_scale: tuple[float, float] = (1.0, 1.0)
    frame_colour: ColourJitter = ColourJitter(brightness=0.01, contrast=0.01, saturation=0.01)
    keep_surroundings: bool = False


@dataclass(frozen=True, kw_only=True)
class StillAugmentation:
    """Augmentation that turns a still image into a clip (stage 0). The defaults are published.

    One scale, flip and colour change for the whole clip; a rotation, shear, scale, crop, colour
    change and bending for each frame.

    crop_size: side of the crop in pixels. bend_probability: share of the frames that are bent by a
    thin-plate spline through `bend_points` points, displaced with a standard deviation of
    `bend_deviation` crop sides. keep_surroundings: see ClipAugmentation.
    """

    crop_size: int = 384
    clip_scale: tuple[float, float] = (0.8, 1.5)
    flip_probability: float = 0.5
    clip_colour: ColourJitter = ColourJitter(
        brightness=0.1, contrast=0.05, saturation=0.05, hue=0.05
    )
    grey_probability: float = 0.05
    frame_rotation_degrees: float = 20.0
    frame_shear_degrees: float = 10.0
    frame_scale: tuple[float, float] = (0.9, 1.1)
    frame_colour: ColourJitter = ColourJitter(brightness=0.1, contrast=0.05, saturation=0.05)
    bend_probability: float = 1 / 3
    bend_points: int = 12
    bend_deviation: float = 0.02
    keep_surroundings: bool = False
