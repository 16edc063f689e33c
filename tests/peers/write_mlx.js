// Writes a model with MLX: write_mlx.js FILE, with a JSON list of [name, dtype, shape, whole numbers] on stdin.
const fs = require('node:fs');
const {core: mx} = require('@frost-beta/mlx');

const file = process.argv[2];
const arrays = {};
for (const [name, dtype, shape, numbers] of JSON.parse(fs.readFileSync(0)))
  arrays[name] = mx.reshape(mx.array(numbers, mx[dtype]), shape);
if (file.endsWith('.gguf'))
  mx.saveGGUF(file, arrays, {});
else
  mx.saveSafetensors(file, arrays, {format: 'mlx'});
