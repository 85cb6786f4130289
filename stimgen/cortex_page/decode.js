// The data of the page in, typed arrays and pictures' names out.
"use strict";

const Decode = {
  array({ kind, bytes }) {
    const text = atob(bytes), raw = new Uint8Array(text.length);
    for (let index = 0; index < text.length; index++) raw[index] = text.charCodeAt(index);
    return kind === "u1" ? raw : kind === "i4" ? new Int32Array(raw.buffer) : new Float32Array(raw.buffer);
  },

  // The same rule as name_picture in cortex_pictures.py.
  picture(kind, number) {
    return `${kind}/${String(Math.floor(number / 1000)).padStart(3, "0")}/${String(number).padStart(6, "0")}.jpg`;
  },

  quantile(values, share) {
    const known = Float32Array.from(values).filter(Number.isFinite).sort();
    return known.length ? known[Math.min(known.length - 1, Math.round(share * (known.length - 1)))] : 0;
  },
};
