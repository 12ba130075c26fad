export function TracePage() {
  return <main>Trace</main>;
}
