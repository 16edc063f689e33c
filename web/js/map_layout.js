// The memory map's geometry: segments one after the other along one line, which is broken like text. Pure.

const LEADING = 0.2; // between lines, as part of a line's height
const GAP = 2; // between segments
const LEAST = 3; // width of a segment, however small it is
const LINES = 6;

/**
 * Places segments, [{sizeBytes, blocks: [{offsetBytes, sizeBytes}]}], on lines of `width` by `line` pixels. Returns
 * {width, line, step, lines, places: [{segment, x, width}]}; step: from line to line; x counts along the unbroken line.
 */
export function lay(segments, width, line) {
  const total = segments.reduce((sum, segment) => sum + segment.sizeBytes, 0);
  const least = segments.length * (LEAST + GAP);
  const room = Math.max(LINES * width - least, width);
  let x = 0;
  const places = segments.map((segment) => {
    const place = { segment, x, width: LEAST + (room * segment.sizeBytes) / total };
    x += place.width + GAP;
    return place;
  });
  return { width, line, step: line * (1 + LEADING), lines: Math.max(1, Math.ceil((x - GAP) / width)), places };
}

export const height = (layout) => layout.lines * layout.step - layout.line * LEADING;

/** Where a part of a segment lies: rectangles [x, y, width], one for each line that it touches. */
export function pieces(layout, place, offset = 0, size = place.segment.sizeBytes) {
  const scale = place.width / place.segment.sizeBytes;
  const found = [];
  let from = place.x + offset * scale;
  const to = from + size * scale;
  do {
    const line = Math.floor(from / layout.width);
    const end = Math.min(to, (line + 1) * layout.width);
    found.push([from - line * layout.width, line * layout.step, end - from]);
    from = end;
  } while (to - from > 1e-6);
  return found;
}

/** The place and block at a point, {place, block}; block null: a hole; null: between segments. */
export function at(layout, x, y) {
  const along = Math.floor(y / layout.step) * layout.width + x;
  let low = 0;
  let high = layout.places.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (layout.places[middle].x <= along) low = middle + 1;
    else high = middle;
  }
  const place = layout.places[low - 1];
  if (!place || along > place.x + place.width) return null;
  const offset = ((along - place.x) / place.width) * place.segment.sizeBytes;
  const slack = place.segment.sizeBytes / place.width; // a pixel: small blocks can be met too
  const near = (block) => offset >= block.offsetBytes - slack && offset <= block.offsetBytes + block.sizeBytes + slack;
  const inside = (block) => offset >= block.offsetBytes && offset < block.offsetBytes + block.sizeBytes;
  const { blocks } = place.segment;
  return { place, block: blocks.find(inside) ?? blocks.find(near) ?? null };
}
