"""Our own rule: it reads an answer only where the response states one (answer tag, box, "the answer is"), or if the
response is nothing but an answer or ends in a conclusion. It never guesses."""
