"""The texts that validation runs: short and long, plain and odd."""

EXACTNESS = (
    "Paris",
    "The mill stands by the river, and the river turns its wheel.",
    "In 1969 two people walked on the Moon; 12 have done so since, the last in December 1972. "
    "Each of them brought back stones, 382 kg in all, and most of those have never been opened.",
    "def fibonacci(n: int) -> int:\n    a, b = 0, 1\n    for _ in range(n):\n"
    "        a, b = b, a + b\n    return a\n",
)

ROUND_TRIP = (
    "Plain words, and a number: 1234567890.",
    "  two spaces before, tab\tinside, newline\nand two after  ",
    "café naïve Zürich señor œuvre ßẞ",
    "東京の水 Москва שלום مرحبا ไทย",
    "emoji 🙂👩‍👩‍👧‍👦 and \u200b zero width",
    'if (x != y) { return "z\\n"; } // 3.14e-10',
    "MiXeD CaSe'll don't WON'T \r\n end",
)

QUALITY = (
    "The history of the bicycle begins in 1817, when Karl von Drais built a machine of wood with "
    "two wheels in line. The rider sat between them and pushed the ground with the feet. Pedals "
    "came forty years later, chains and equal wheels in the 1880s, and with air-filled tyres the "
    "bicycle became what it still is: the most efficient way for a human body to travel.",
    "Water boils at 100 degrees Celsius at sea level because at that temperature the pressure of "
    "its vapour equals that of the air above it. On a high mountain the air weighs less, so water "
    "boils at a lower temperature, and an egg takes longer to cook. In a pressure cooker the "
    "opposite is true, and food is done in a third of the time.",
    "Dear Anna, thank you for your letter. We arrived on Tuesday after a long journey, and the "
    "house is just as you described it: small, white, and full of light. The children have already "
    "found the path to the beach. Yesterday they came home with their pockets full of shells and "
    "would not go to bed until each one had been washed, counted and given a name.",
    "import json\nfrom pathlib import Path\n\n\ndef load(path: Path) -> dict[str, str]:\n"
    '    """Read a table of names from a JSON file."""\n    with path.open() as file:\n'
    "        table = json.load(file)\n    if not isinstance(table, dict):\n"
    '        raise ValueError(f"{path} does not hold a table")\n    return table\n',
    "To make a simple bread you need 500 grams of flour, 350 grams of water, 10 grams of salt and "
    "a small spoon of dry yeast. Mix everything in a bowl, cover it, and leave it overnight. In "
    "the morning shape the dough, let it rest for an hour, and bake it in a very hot oven for "
    "forty minutes. Let it cool before you cut it.",
)

CALIBRATION = (
    "The old lighthouse keeper climbed the stairs twice a day, once to light the lamp and once "
    "to put it out. He knew the ships by their sound. When the fog came in he rang the bell "
    "himself, four strokes each minute, until his daughter took the rope and sent him to bed.",
    "Question: Why do leaves change their colour in autumn?\nAnswer: In summer the green of "
    "chlorophyll covers all other colours. When the days grow short, trees stop making it, and "
    "the yellow and orange that were always there can be seen. Reds are made anew, from sugar.",
    "1. Preheat the pan.\n2. Beat three eggs with a little salt.\n3. Pour them in and stir "
    "slowly.\n4. Fold the omelette when the edges are firm.\n\n- Serves: 1\n- Time: 5 minutes\n",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, "
    "item):\n        self.items.append(item)\n\n    def pop(self):\n        if not "
    "self.items:\n            raise IndexError('empty stack')\n        return self.items.pop()\n",
    "In 2021 the company sold 48,300 units, 12.5 % more than in 2020, and earned $3.7 million. "
    "For 2022 it expects growth of 8 to 10 %, mainly in Brazil, India and South Korea.",
    "User: Hello! Can you help me plan a trip to Lisbon?\nAssistant: Of course. How many days do "
    "you have, and do you prefer museums, food or the sea?\nUser: Four days, and mostly food.\n"
    "Assistant: Then start in the market of Campo de Ourique, where you can try a bit of "
    "everything.",
    "Photosynthesis turns light into sugar. Gravity bends light. Triangles have three sides. "
    "Mozart was born in Salzburg. Tokyo is larger than Osaka. Iron rusts. Bees dance. Nobody "
    "knows why.",
)
"""What activations are measured over; none of it is in what the result is judged by."""
