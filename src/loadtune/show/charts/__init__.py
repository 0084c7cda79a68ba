"""One file a chart: its data, what it says in a sentence, its table, and how it is drawn."""
