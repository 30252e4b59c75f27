"""Between the Messages API and Gemini's generateContent: requests, answers, signatures."""
