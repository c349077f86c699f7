"""Thimble's program and ONNX Runtime, for NumPy arrays by name."""
import json
import os
import re
import subprocess
import tempfile

import numpy

HERE = os.path.dirname(os.path.abspath(__file__))
THIMBLE = os.path.join(HERE, '../../build/release/apps/thimble')


class OnnxRuntime:
    """ONNX Runtime's answers, unoptimized unless told."""

    def __init__(self, model, level='disabled'):
        self.process = subprocess.Popen(['node', os.path.join(HERE, 'run.mjs'), model, level], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def __call__(self, inputs):
        with tempfile.TemporaryDirectory() as folder:
            described = {}
            for i, (name, x) in enumerate(inputs.items()):
                file = f'{folder}/in{i}.bin'
                numpy.ascontiguousarray(x).tofile(file)
                described[name] = {'file': file, 'type': str(x.dtype), 'dims': x.shape}
            self.process.stdin.write(json.dumps({'inputs': described, 'out': folder}) + '\n')
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
            if not answer:
                raise RuntimeError('ONNX Runtime gave no answer')
            return {name: numpy.fromfile(y['file'], y['type']).reshape(y['dims'])
                    for name, y in json.loads(answer).items()}

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def thimble(*arguments):
    result = subprocess.run([THIMBLE, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr.strip())


def thimble_run(model, inputs):
    """The answers of `thimble run`."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = []
        for i, (name, x) in enumerate(inputs.items()):
            numpy.save(f'{folder}/in{i}.npy', x)
            arguments += ['--input', f'{name}={folder}/in{i}.npy']
        thimble('run', model, *arguments, '--output', f'{folder}/out', '--json', f'{folder}/out.json')
        with open(f'{folder}/out.json') as file:
            return {y['name']: numpy.load(y['file']) for y in json.load(file)['outputs']}


def only(outputs):
    return next(iter(outputs.values()))


def in_parts(run, inputs, size=25):
    """The only output for a batch of the only input, so many samples at a time."""
    name, x = next(iter(inputs.items()))
    return numpy.concatenate([only(run({name: x[i:i + size]})) for i in range(0, len(x), size)])


def input_name(file):
    """The name of a model's only input."""
    with tempfile.TemporaryDirectory() as folder:
        if file.endswith('.onnx'):
            thimble('import', file, '--out', f'{folder}/model.safetensors')
            file = f'{folder}/model.safetensors'
        thimble('inspect', file, '--json', f'{folder}/result.json')
        with open(f'{folder}/result.json') as result:
            return next(n['name'] for n in json.load(result)['nodes'] if n['kind'] == 'input')


def render(folder, text, *, font='DejaVu-Sans', points=28, height=48):
    """A line of text by ImageMagick, RGB [height, width, 3]."""
    file = f'{folder}/line.ppm'
    subprocess.run(['convert', '-background', 'white', '-fill', 'black', '-font', font, '-pointsize', str(points),
                    '-depth', '8', f'label:{text}', '-bordercolor', 'white', '-border', '8x4', '-resize', f'x{height}', file],
                   check=True)
    return read_ppm(file)


def read_ppm(path):
    with open(path, 'rb') as file:
        magic, width, height, most, rest = re.match(rb'(P6)\s+(\d+)\s+(\d+)\s+(\d+)\s(.*)', file.read(), re.S).groups()
    assert magic == b'P6' and most == b'255'
    return numpy.frombuffer(rest, numpy.uint8).reshape(int(height), int(width), 3)


def speak(folder, text, rate=16000, options=()):
    """Samples of espeak-ng's voice at 16 kHz, -1 to 1."""
    subprocess.run(['espeak-ng', *options, '-w', f'{folder}/voice.wav', text], check=True)
    with open(f'{folder}/voice.wav', 'rb') as file:
        data = file.read()
    own_rate = int.from_bytes(data[24:28], 'little')
    samples = numpy.frombuffer(data[data.index(b'data') + 8:], numpy.int16).astype(numpy.float32) / 32768
    at = numpy.arange(0, len(samples) - 1, own_rate / rate)
    return numpy.interp(at, numpy.arange(len(samples)), samples).astype(numpy.float32)
