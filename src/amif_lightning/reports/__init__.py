"""Result records, prediction files and the tables made from them; nothing here imports torch."""
