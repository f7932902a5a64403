"""Networks of the method: encoders, fusion, knowledge and answering, each in one short file."""
