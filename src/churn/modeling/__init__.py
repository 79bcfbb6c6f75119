"""The model: encoding, fitting, measuring, drawing, the gate, and the model that scores."""
