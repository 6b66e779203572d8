"""The text that the tokenizers of the tiny models are trained on."""

TEXT = """
The fox walks along the river in the morning and the river runs to the sea.
A small bird sings above the mill while the water turns the wheel of stone.
Every day the miller carries the grain to the mill and the flour to the town.
The children of the town play in the square until the bell rings for the night.
What is the capital of the country? How many days are in a week? Who keeps the light?
There are seven days in a week, twelve months in a year, and four winds in the sky.
The old woman writes a letter to her son who sails the wide and quiet ocean.
She says that the apples are ripe, that the cat is well, and that the roof is dry.
When the snow falls the road is white, and the wolves come down from the high hills.
In spring the farmer plants beans, carrots, onions, and a long row of yellow flowers.
Good morning, said the baker; the bread is warm, the butter is fresh, the tea is hot.
A boat with a red sail waits by the harbour wall, and the tide lifts it slowly.
The teacher asks a question and the answer is written on the board with white chalk.
Numbers: 0 1 2 3 4 5 6 7 8 9 10 20 30 100. Words such as café, naïve, Zürich, señor.
Some words come from far away: 東京 東京 東京 and 水 水 水, Москва Москва, שלום שלום.
Write one sentence about the sea. Tell me about the mountain, the forest, the machine.
The machine counts the jobs, keeps them in a queue, and gives each one to a worker.
If a worker is lost then another worker takes the job, and no job is done two times.
"""
