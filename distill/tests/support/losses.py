"""The losses of the knowledge transfer in NumPy, from their papers, and their gradients by central differences.

Reads a JSON file of cases, prints for each its value and its gradient with respect to the student's map.
"""
import json
import sys

import numpy as np


def l2(s, t, case):
    return np.mean((s - t) ** 2)


def attention(s, t, case):  # arXiv 1612.03928, eq. 1 and 2
    def vector(x):
        q = (x**2).sum(axis=1).reshape(len(x), -1)
        return q / np.linalg.norm(q, axis=1, keepdims=True)

    return np.mean(np.sum((vector(s) - vector(t)) ** 2, axis=1))


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def cwd(s, t, case):  # arXiv 2011.13256, eq. 5 and 6
    tau = case["temperature"]
    n, c, h, w = s.shape
    p, q = (softmax(x.reshape(n, c, h * w) / tau, 2) for x in (t, s))
    return tau**2 / (n * c) * np.sum(p * np.log(p / q))


def pkd(s, t, case):  # arXiv 2207.02039: 1 - r for each channel
    correlations = [np.corrcoef(s[:, c].ravel(), t[:, c].ravel())[0, 1] for c in range(s.shape[1])]
    return 1 - np.mean(correlations)


def fgd(s, t, case):  # arXiv 2111.11837, eq. 2 to 7, foreground 1, background 0.5
    n, c, h, w = s.shape
    width, height = case["size"]
    total = 0.0
    for picture in range(n):
        mask, scale = np.zeros((h, w)), np.zeros((h, w))
        for x1, y1, x2, y2, is_object in case["boxes"][picture]:
            if not is_object:
                continue
            left, right = int(np.floor(x1 / width * w)), int(np.ceil(x2 / width * w))
            top, bottom = int(np.floor(y1 / height * h)), int(np.ceil(y2 / height * h))
            area = 1 / ((right - left) * (bottom - top))
            for i in range(top, bottom):
                for j in range(left, right):
                    mask[i, j], scale[i, j] = 1, max(scale[i, j], area)
        background = (1 - mask) / (1 - mask).sum()
        magnitude = np.abs(t[picture])
        spatial = h * w * softmax(magnitude.mean(axis=0).ravel() / 0.5, 0).reshape(h, w)
        channel = c * softmax(magnitude.mean(axis=(1, 2)) / 0.5, 0)
        weights = (mask * scale + 0.5 * background) * spatial
        total += np.einsum("c,ij,cij->", channel, weights, (t[picture] - s[picture]) ** 2)
    return total / (n * c)


def output(s, t, case):  # arXiv 1805.06361, eq. 3 to 6, with half squares and a divergence of the classes
    anchors, classes = case["anchors"], case["classes"]
    n, _, rows, columns = s.shape
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    total = 0.0
    for picture in range(n):
        for anchor in range(anchors):
            first = anchor * (5 + classes)
            for i in range(rows):
                for j in range(columns):
                    a, b = (x[picture, first : first + 5 + classes, i, j] for x in (s, t))
                    box = 0.5 * np.sum((sigmoid(a[:2]) - sigmoid(b[:2])) ** 2) + 0.5 * np.sum((a[2:4] - b[2:4]) ** 2)
                    p, q = softmax(b[5:], 0), softmax(a[5:], 0)
                    seen = sigmoid(b[4])
                    total += 0.5 * (sigmoid(a[4]) - seen) ** 2 + seen * (box + np.sum(p * np.log(p / q)))
    return total / n


def gradient(loss, s, t, case, step=1e-5):
    result = np.zeros(s.size)
    for index in range(s.size):
        up, down = s.copy().ravel(), s.copy().ravel()
        up[index] += step
        down[index] -= step
        result[index] = (loss(up.reshape(s.shape), t, case) - loss(down.reshape(s.shape), t, case)) / (2 * step)
    return result


answers = []
for case in json.load(open(sys.argv[1])):
    loss = globals()[case["loss"]]
    s, t = (np.array(case[side], dtype=np.float64).reshape(case["shape"]) for side in ("student", "teacher"))
    answers.append({"value": loss(s, t, case), "gradient": gradient(loss, s, t, case).tolist()})
print(json.dumps(answers))
