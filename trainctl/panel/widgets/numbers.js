// Numbers and axes of all cards and plots: one way to write a number, one way to choose round places on an axis. It stands
// before the script of each part that draws some.

export const count = value => Math.round(value).toLocaleString("en");
export const number = value => {  // as text.py writes it: four significant digits
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e9) return String(value);
  if (size >= 1e4 && size < 1e9) return value.toFixed(0);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) {
    const [digits, power] = value.toExponential(3).split("e");
    return `${Number(digits)}e${power[0]}${power.slice(1).padStart(2, "0")}`;
  }
  return String(Number(value.toPrecision(4)));
};

// Round places between two ends: at most about so many, and two of them wherever the ends leave room for it.
export const ticks = (low, high, most, isLog) => {
  if (isLog && high / low >= 10) {
    const from = Math.floor(Math.log10(low)), to = Math.ceil(Math.log10(high));
    const places = every => {
      const found = [];
      for (let power = from; power <= to; power += every) {
        for (const part of to - from <= 2 ? [1, 2, 5] : [1]) {
          const place = part * 10 ** power;
          if (place >= low * (1 - 1e-9) && place <= high * (1 + 1e-9)) found.push(Number(place.toPrecision(1)));
        }
      }
      return found;
    };
    let every = Math.ceil((to - from) / most);
    while (every > 1 && places(every).length < 2) every--;
    return places(every);
  }
  const places = step => {
    const found = [];
    for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) found.push(Number((at * step).toPrecision(12)));
    return found;
  };
  const raw = (high - low) / most || 1, size = 10 ** Math.floor(Math.log10(raw)), parts = [0.5, 1, 2, 5, 10];
  const at = parts.findIndex(part => part * size >= raw * (1 - 1e-9)), found = places(parts[at] * size);
  return found.length > 1 ? found : places(parts[at - 1] * size);
};

// The places of an axis as texts: with as many digits as tell them apart.
export const labels = (places, short = number, long = String) => {
  const texts = places.map(short);
  return new Set(texts).size === texts.length ? texts : places.map(long);
};
