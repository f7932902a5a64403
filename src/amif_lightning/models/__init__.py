"""Networks of the method: encoders, fusion, knowledge and answering."""
