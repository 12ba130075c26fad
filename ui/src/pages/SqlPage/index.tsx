export function SqlPage() {
  return <main>Sql</main>;
}
