// A colour for each object, far apart for those that follow one another.
const FIRST = [
  [239, 83, 80], [66, 165, 245], [255, 202, 40], [102, 187, 106], [171, 71, 188], [255, 138, 60],
  [38, 198, 218], [236, 100, 165], [156, 204, 60], [121, 134, 240], [200, 150, 110], [0, 175, 140],
];

export function colourOf(id) {
  if (id <= FIRST.length) return FIRST[id - 1];
  const hue = (id * 137.508) % 360;
  const at = (n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (0.6 - 0.3 * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [at(0), at(8), at(4)];
}

export const cssOf = (id) => `rgb(${colourOf(id).join(" ")})`;
