export const description = "Greets whoever is named in the arguments";

export async function execute(args: string): Promise<string> {
  const name = args.trim();
  return `Hello, ${name === "" ? "World" : name}!`;
}
