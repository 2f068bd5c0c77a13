# SPDX-License-Identifier: Apache-2.0
"""The catalogue: cars, people, trees, street furniture and houses, each drawn from a generator."""

from __future__ import annotations

import numpy as np

from selfocc_ros.town.objects import Colour, Label, Material, Part, Thing

CAR_PAINT: tuple[Colour, ...] = (
    (0.75, 0.75, 0.77),
    (0.08, 0.08, 0.09),
    (0.42, 0.43, 0.46),
    (0.55, 0.07, 0.06),
    (0.07, 0.14, 0.40),
    (0.85, 0.84, 0.80),
    (0.12, 0.30, 0.18),
    (0.70, 0.55, 0.12),
    (0.30, 0.18, 0.10),
    (0.20, 0.45, 0.60),
)
WALL_PAINT: tuple[Colour, ...] = (
    (0.62, 0.34, 0.26),
    (0.74, 0.66, 0.52),
    (0.55, 0.52, 0.49),
    (0.80, 0.76, 0.68),
    (0.45, 0.28, 0.22),
    (0.66, 0.58, 0.36),
    (0.50, 0.56, 0.60),
    (0.70, 0.50, 0.40),
    (0.36, 0.38, 0.36),
    (0.78, 0.70, 0.72),
)


def _near(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    shift = rng.normal(0.0, spread, 3) + rng.normal(0.0, spread)
    r, g, b = np.clip(np.asarray(colour) + shift, 0.03, 0.95)
    return float(r), float(g), float(b)


def _pick(rng: np.random.Generator, colours: tuple[Colour, ...], spread: float = 0.03) -> Colour:
    return _near(rng, colours[int(rng.integers(len(colours)))], spread)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1, 65521))


def car(rng: np.random.Generator) -> Thing:
    """A car of two boxes: body (wheels are painted on) and cabin."""
    length, width = rng.uniform(3.8, 4.7), rng.uniform(1.68, 1.86)
    waist, top = rng.uniform(0.85, 1.0), rng.uniform(1.42, 1.72)
    paint = _pick(rng, CAR_PAINT)
    front, back = rng.uniform(0.12, 0.26) * length, rng.uniform(0.02, 0.14) * length
    x, y = length * 0.5, width * 0.5
    inset = rng.uniform(0.06, 0.14)
    parameters = (float(length), float(waist), float(rng.uniform(0.29, 0.34)), 0.0)
    return Thing(
        Label.CAR,
        (
            Part((-x, -y, 0.0), (x, y, waist), Material.CAR_BODY, paint, parameters),
            Part(
                (-x + back, -y + inset, waist),
                (x - front, y - inset, top),
                Material.CAR_CABIN,
                paint,
                (float(waist), float(top), 0.0, 0.0),
            ),
        ),
        _seed(rng),
    )


def van(rng: np.random.Generator) -> Thing:
    """A delivery van or small lorry: a cab and a tall box."""
    length, width, height = rng.uniform(5.0, 6.0), rng.uniform(1.9, 2.05), rng.uniform(2.2, 2.9)
    paint, box = _pick(rng, CAR_PAINT), _pick(rng, CAR_PAINT, 0.06)
    x, y = length * 0.5, width * 0.5
    parameters = (float(length), 0.95, 0.36, 0.0)
    return Thing(
        Label.TRUCK,
        (
            Part((-x, -y, 0.0), (x, y, 0.95), Material.CAR_BODY, paint, parameters),
            Part(
                (x - 1.7, -y + 0.08, 0.95), (x - 0.3, y - 0.08, 1.9), Material.CAR_CABIN, paint, (0.95, 1.9, 0.0, 0.0)
            ),
            Part((-x, -y, 0.95), (x - 1.75, y, height), Material.TRUCK_BOX, box),
        ),
        _seed(rng),
    )


def bus(rng: np.random.Generator) -> Thing:
    """A short city bus."""
    length, width, height = rng.uniform(7.5, 9.0), 2.25, rng.uniform(2.8, 3.1)
    paint = _pick(rng, CAR_PAINT)
    x, y = length * 0.5, width * 0.5
    return Thing(
        Label.BUS,
        (
            Part((-x, -y, 0.0), (x, y, 1.1), Material.CAR_BODY, paint, (float(length), 1.1, 0.45, 0.0)),
            Part((-x, -y, 1.1), (x, y, height), Material.CAR_CABIN, paint, (1.1, float(height), 0.0, 0.0)),
        ),
        _seed(rng),
    )


def pedestrian(rng: np.random.Generator) -> Thing:
    """A person: legs, trunk and head."""
    height = rng.uniform(1.5, 1.9)
    hips, shoulders = 0.48 * height, 0.86 * height
    coat = (float(rng.uniform(0.05, 0.9)), float(rng.uniform(0.05, 0.7)), float(rng.uniform(0.05, 0.8)))
    trousers = _near(rng, (0.14, 0.15, 0.22), 0.08)
    skin = _near(rng, (0.60, 0.44, 0.34), 0.1)
    half = rng.uniform(0.19, 0.27)
    head = 0.07 * height
    return Thing(
        Label.PEDESTRIAN,
        (
            Part((-0.15, -0.16, 0.0), (0.15, 0.16, hips), Material.CLOTHES, trousers, (1.0, 0.0, 0.0, 0.0)),
            Part((-0.14, -half, hips), (0.14, half, shoulders), Material.CLOTHES, coat),
            Part((-head, -head, height - 2 * head), (head, head, height), Material.SKIN, skin, ball=True),
        ),
        _seed(rng),
    )


def bicycle(rng: np.random.Generator) -> Thing:
    """A parked bicycle, seen as a thin slab."""
    return Thing(
        Label.BICYCLE,
        (
            Part((-0.8, -0.06, 0.0), (0.8, 0.06, 0.65), Material.STRIPES, _pick(rng, CAR_PAINT), (0.22, 0.0, 0.0, 0.0)),
            Part((0.3, -0.22, 0.65), (0.5, 0.22, 1.0), Material.METAL, (0.2, 0.2, 0.2)),
        ),
        _seed(rng),
    )


def tree(rng: np.random.Generator) -> Thing:
    """A street tree: a square trunk and two or three balls of leaves above head height."""
    trunk = rng.uniform(0.11, 0.2)
    clear = rng.uniform(2.7, 3.4)
    leaf = _pick(rng, ((0.16, 0.30, 0.08), (0.24, 0.34, 0.10), (0.34, 0.30, 0.08), (0.12, 0.24, 0.12)), 0.02)
    parts = [
        Part((-trunk, -trunk, 0.0), (trunk, trunk, clear + 0.8), Material.BARK, _near(rng, (0.24, 0.18, 0.12), 0.03))
    ]
    for _ in range(int(rng.integers(2, 4))):
        radius = float(rng.uniform(0.8, 1.5))
        x, y = rng.uniform(-0.6, 0.6, 2)
        z = clear + radius + rng.uniform(0.0, 1.2)
        parts.append(
            Part(
                (x - radius, y - radius, z - radius),
                (x + radius, y + radius, z + radius),
                Material.LEAVES,
                _near(rng, leaf, 0.02),
                ball=True,
            )
        )
    return Thing(Label.VEGETATION, tuple(parts), _seed(rng))


def lamp(rng: np.random.Generator) -> Thing:
    """A lamp post."""
    half, height = rng.uniform(0.08, 0.14), rng.uniform(4.5, 7.0)
    paint = _near(rng, (0.26, 0.28, 0.27), 0.08)
    return Thing(
        Label.MANMADE,
        (
            Part((-half, -half, 0.0), (half, half, height), Material.METAL, paint),
            Part((-half * 1.7, -half * 1.7, 0.0), (half * 1.7, half * 1.7, 0.9), Material.METAL, paint),
            Part((-1.0, -0.12, height - 0.1), (0.2, 0.12, height + 0.08), Material.METAL, paint),
        ),
        _seed(rng),
    )


def sign(rng: np.random.Generator) -> Thing:
    """A traffic sign on its post, facing along x."""
    height = rng.uniform(2.2, 2.7)
    paint = _pick(rng, ((0.7, 0.08, 0.07), (0.08, 0.2, 0.6), (0.85, 0.7, 0.1)), 0.03)
    return Thing(
        Label.MANMADE,
        (
            Part((-0.05, -0.05, 0.0), (0.05, 0.05, height), Material.METAL, (0.45, 0.46, 0.47)),
            Part((-0.04, -0.33, height - 0.66), (0.04, 0.33, height), Material.SIGN, paint),
        ),
        _seed(rng),
    )


def litter_bin(rng: np.random.Generator) -> Thing:
    """A bin, a cabinet or a post box."""
    x, y, z = rng.uniform(0.2, 0.4), rng.uniform(0.2, 0.35), rng.uniform(0.8, 1.4)
    paint = _pick(rng, ((0.15, 0.3, 0.18), (0.5, 0.1, 0.08), (0.35, 0.36, 0.36), (0.7, 0.55, 0.1)))
    return Thing(
        Label.MANMADE, (Part((-x, -y, 0.0), (x, y, z), Material.WALL, paint, (1.0, 0.0, 0.0, 0.0)),), _seed(rng)
    )


def planter(rng: np.random.Generator) -> Thing:
    """A flower trough with a bush."""
    x, r = rng.uniform(0.5, 1.0), rng.uniform(0.3, 0.42)
    return Thing(
        Label.VEGETATION,
        (
            Part(
                (-x, -0.28, 0.0),
                (x, 0.28, 0.5),
                Material.WALL,
                _near(rng, (0.5, 0.46, 0.4), 0.05),
                (1.0, 0.0, 0.0, 0.0),
                label=Label.MANMADE,
            ),
            Part((-0.5 - r, -r, 0.7 - r), (-0.5 + r, r, 0.7 + r), Material.LEAVES, (0.2, 0.32, 0.1), ball=True),
            Part((0.5 - r, -r, 0.65 - r), (0.5 + r, r, 0.65 + r), Material.LEAVES, (0.26, 0.3, 0.1), ball=True),
        ),
        _seed(rng),
    )


def barrier(rng: np.random.Generator) -> Thing:
    """A striped road barrier."""
    return Thing(
        Label.BARRIER,
        (Part((-0.12, -0.9, 0.0), (0.12, 0.9, 1.0), Material.STRIPES, (0.8, 0.12, 0.08), (0.3, 1.0, 0.0, 0.0)),),
        _seed(rng),
    )


def cone(rng: np.random.Generator) -> Thing:
    """A traffic cone, as two stacked boxes."""
    return Thing(
        Label.TRAFFIC_CONE,
        (
            Part((-0.18, -0.18, 0.0), (0.18, 0.18, 0.35), Material.STRIPES, (0.9, 0.32, 0.05), (0.25, 1.0, 0.0, 0.0)),
            Part((-0.1, -0.1, 0.35), (0.1, 0.1, 0.75), Material.STRIPES, (0.9, 0.32, 0.05), (0.25, 1.0, 0.0, 0.0)),
        ),
        _seed(rng),
    )


def hedge(rng: np.random.Generator, length: float) -> Thing:
    """A hedge or low wall along x."""
    x, y, z = length * 0.5, rng.uniform(0.15, 0.45), rng.uniform(0.7, 2.0)
    if rng.random() < 0.55:
        part = Part((-x, -y, 0.0), (x, y, z), Material.LEAVES, _near(rng, (0.16, 0.28, 0.08), 0.03))
        return Thing(Label.VEGETATION, (part,), _seed(rng))
    part = Part((-x, -y, 0.0), (x, y, z), Material.WALL, _pick(rng, WALL_PAINT))
    return Thing(Label.MANMADE, (part,), _seed(rng))


def house(rng: np.random.Generator, width: float, depth: float, floors: int) -> Thing:
    """A house whose front is the plane x = 0, reaching back to x = -depth, ``width`` along y.

    Bays, balconies, a cornice and an awning stand out in front of it, above head height.
    """
    storey = rng.uniform(2.9, 3.5)
    height = floors * storey + rng.uniform(0.3, 1.2)
    paint = _pick(rng, WALL_PAINT, 0.05)
    trim = _near(rng, (0.72, 0.69, 0.63), 0.08)
    bay = width / max(round(width / rng.uniform(2.1, 3.2)), 1)
    shop = float(rng.random() < 0.45)
    y = width * 0.5
    parameters = (float(storey), float(bay), shop, float(rng.uniform(0.38, 0.62)))
    # The foundations reach deep: the ground may fall by 3 % along the front.
    parts = [Part((-depth, -y, -1.0), (0.0, y, height), Material.FACADE, paint, parameters)]
    parts.append(Part((-0.3, -y, height), (0.35, y, height + 0.4), Material.WALL, trim))
    if shop and rng.random() < 0.6:
        half = rng.uniform(0.3, 0.48) * width
        parts.append(
            Part((0.0, -half, 2.55), (1.1, half, 2.7), Material.STRIPES, _pick(rng, CAR_PAINT), (0.5, 1.0, 0.0, 0.0))
        )
    style = rng.random()
    for floor in range(1, floors):
        for column in range(int(round(width / bay))):
            if rng.random() > (0.35 if style < 0.5 else 0.08):
                continue
            centre = -y + (column + 0.5) * bay
            base = floor * storey
            half = bay * 0.42
            parts.append(
                Part(
                    (0.0, centre - half, base - 0.1),
                    (1.0, centre + half, base + 0.95),
                    Material.WALL,
                    _near(rng, trim, 0.03),
                    (0.0, 1.0, 0.0, 0.0),
                )
            )
    return Thing(Label.MANMADE, tuple(parts), _seed(rng))
