// The client of every script here: base URL, photo and mask are the arguments; the report is one line of JSON.
import OpenAI from "openai";

export const [baseURL, photo, mask] = process.argv.slice(2);
export const client = new OpenAI({ baseURL, apiKey: "any", maxRetries: 0 });
export const report = (found) => console.log(JSON.stringify(found));
