#!/usr/bin/env python3
"""What scripts/onnx-round-trips does with a model: export, ONNX Runtime, comparison. Prints a line of its table."""
import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnx.checker

COLUMNS = '%-18s %5s %5s  %-13s %-9s  %-22s  %-26s %-8s %s'
HEADER = ('model', 'opset', 'nodes', 'same class', 'error', 'integers: equal, off', 'floats in ONNX Runtime',
          'checker', 'imported again')
BATCH = 500
# Layers whose output is integers of 8 bits or fewer.
INTEGER_LAYERS = {'Quantize', 'QuantizedLinear', 'QuantizedConv2d', 'QuantizedAdd', 'QuantizedClamp', 'Requantize'}
# Ops of ONNX Runtime's that multiply floats.
FLOAT_PRODUCTS = {'Conv', 'FusedConv', 'Gemm', 'FusedGemm', 'MatMul', 'FusedMatMul', 'MatMulNBits'}


def header_of(path):
    with open(path, 'rb') as file:
        length = struct.unpack('<Q', file.read(8))[0]
        return json.loads(file.read(length)), file.read()


def with_inner_outputs(path, copy):
    """The checkpoint with what integer layers give as further outputs; returns their names."""
    header, tensors = header_of(path)
    graph = json.loads(header['__metadata__']['graph'])
    layers = {layer['name']: layer for layer in graph['layers']}
    inner = []
    for node in graph['nodes']:
        layer = layers.get(node.get('target')) if node['kind'] == 'layer' else None
        if layer and layer['type'] in INTEGER_LAYERS:
            if layer['type'] not in ('QuantizedLinear', 'QuantizedConv2d') or 'output_scale' in layer['attributes']:
                inner.append(node['name'])
    outputs = graph.get('outputs') or [{'name': graph['output'], 'node': graph['output']}]
    graph['outputs'] = outputs + [{'name': name, 'node': name} for name in inner]
    header['__metadata__']['graph'] = json.dumps(graph)
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(copy, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text + tensors)
    return inner


def images_for(path, count):
    """MNIST's test images as the checkpoint's notes prepare them."""
    notes = json.loads(header_of(path)[0]['__metadata__']['notes'])
    note = lambda key: notes['preprocessing.' + key]
    with open('data/mnist/t10k-images-idx3-ubyte', 'rb') as file:
        pixels = numpy.frombuffer(file.read(), numpy.uint8, offset=16).reshape(-1, 28, 28)[:count]
    if note('crop'):
        first = (28 - note('crop')) // 2
        pixels = pixels[:, first:first + note('crop'), first:first + note('crop')]
    pixels = numpy.pad(pixels, ((0, 0), (note('pad'),) * 2, (note('pad'),) * 2))
    values = ((pixels / 255 - note('mean')) / note('std')).astype(numpy.float32)
    values = numpy.repeat(values[:, None], note('channels'), axis=1)
    return values.reshape(len(values), -1) if note('flatten') else values


def run_json(*command):
    return json.loads(subprocess.run([*command, '--json', '-'], check=True, stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL).stdout)


def thimble_outputs(thimble, model, images, folder):
    """In batches: memory is what a model of many outputs takes."""
    parts = {}
    for first in range(0, len(images), BATCH):
        numpy.save(folder + '/part.npy', images[first:first + BATCH])
        report = run_json(thimble, 'run', model, '--input', folder + '/part.npy', '--output', folder + '/thimble')
        for output in report['outputs']:
            file = output['file'] if os.path.exists(output['file']) else os.path.join(folder, 'thimble', output['file'])
            parts.setdefault(output['name'], []).append(numpy.load(file))
    return {name: numpy.concatenate(part) for name, part in parts.items()}


def ort_outputs(model, images, folder, options):
    numpy.save(folder + '/images.npy', images)
    here = os.path.dirname(os.path.abspath(__file__))
    settings = [key + '=' + value for key, value in options.items()]
    subprocess.run(['node', here + '/run.mjs', model, folder + '/images.npy', folder + '/ort', str(BATCH),
                    folder + '/optimized.onnx', *settings], check=True)
    with open(folder + '/ort/outputs.json') as file:
        outputs = json.load(file)
    return {o['name']: numpy.fromfile('%s/ort/%d.bin' % (folder, i), o['type']).reshape(o['shape'])
            for i, o in enumerate(outputs)}


def float_ops(path):
    counts = {}
    for node in onnx.load(path).graph.node:
        if node.op_type in FLOAT_PRODUCTS:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return ' '.join('%s %d' % pair for pair in sorted(counts.items())) or '-'


def checked(path, opset):
    if opset > onnx.defs.onnx_opset_version():
        return 'too new'
    onnx.checker.check_model(path, full_check=True)
    return 'passes'


def compare_integers(args, images, folder):
    """Shares of equal values within the model, how far others are off, and how many there are."""
    copy, exported = folder + '/inner.safetensors', folder + '/inner.onnx'
    inner = with_inner_outputs(args.model, copy)
    if not inner:
        return 0, 0, 0
    report = run_json(args.thimble, 'export', copy, '--format', 'onnx', '--out', exported)
    ours = thimble_outputs(args.thimble, copy, images, folder)
    theirs = ort_outputs(exported, images, folder, report['session_options'])
    total = sum(ours[key].size for key in inner)
    equal = sum(int((ours[key] == theirs[key]).sum()) for key in inner)
    steps = max(int(numpy.abs(ours[key].astype(int) - theirs[key].astype(int)).max()) for key in inner)
    return equal, total, steps


def check_model(args):
    name = os.path.basename(args.model).replace('.safetensors', '')
    images = images_for(args.model, args.images)
    with tempfile.TemporaryDirectory() as folder:
        exported = folder + '/model.onnx'
        report = run_json(args.thimble, 'export', args.model, '--format', 'onnx', '--out', exported)
        (ours,) = thimble_outputs(args.thimble, args.model, images, folder).values()
        (theirs,) = ort_outputs(exported, images, folder, report['session_options']).values()
        floats = float_ops(folder + '/optimized.onnx')
        same = int((ours.argmax(1) == theirs.argmax(1)).sum())
        error = numpy.abs(ours - theirs).max() / numpy.abs(ours).max()
        again = imported_again(args.thimble, exported, images, folder, ours)
        verdict = checked(exported, report['opset'])
        equal, total, steps = compare_integers(args, images[:2000], folder)
    integers = '%.5f %%, by %d' % (100 * equal / total, steps) if total else '-'
    sound = same >= len(images) - 2 and steps <= 1 and equal >= 0.999 * total
    print(COLUMNS % (name, report['opset'], report['nodes'], '%d/%d' % (same, len(images)), '%.1e' % error, integers,
                     floats, verdict, again), flush=True)
    return 0 if sound else 1


def imported_again(thimble, exported, images, folder, ours):
    try:
        (again,) = thimble_outputs(thimble, exported, images, folder).values()
    except subprocess.CalledProcessError:
        return 'refused'
    different = int((again != ours).sum())
    return 'bit-identical' if different == 0 else '%d of %d differ' % (different, ours.size)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    commands.add_parser('header')
    model = commands.add_parser('model')
    model.add_argument('model')
    model.add_argument('--thimble', required=True)
    model.add_argument('--images', type=int, default=10000)
    args = parser.parse_args()
    if args.command == 'header':
        print(COLUMNS % HEADER, flush=True)
        return 0
    return check_model(args)


sys.exit(main())
